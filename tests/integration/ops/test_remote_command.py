"""`manage.py remote`, as a process of its own, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.ops.remote_site import Site
from tests.rig.sshd import Sshd, make_key
from tests.servers import HUNG_SECONDS, free_port, wait_until
from tests.typed import type_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import OpsSettingsFactory

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LONG = ("backup_db", "-n", "2000", "-p", "0.02", "-c", "0")


class Laptop:
    """Somebody's checkout, with a server that it knows and one that is down."""

    def __init__(self, home: Path, sshd: Sshd, site: Site) -> None:
        self.site = site
        directory = site.directory
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "OPS_REQUESTED_BY": "ada@laptop",
            "OPS_SERVERS": f"here=127.0.0.1:{sshd.port}{directory},"
            f"down=127.0.0.1:{free_port()}{directory}",
            "TERM": "xterm",
        }
        self.environment.pop("SSH_AUTH_SOCK", None)

    def remote(
        self, *arguments: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(arguments),
            cwd=ROOT,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=HUNG_SECONDS * 2,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._argv(arguments),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_terminal(self, *arguments: str) -> Terminal:
        return Terminal(self._argv(arguments), self.environment)

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "manage.py", "remote", *arguments]


class Terminal:
    """A process on a terminal of 97 columns, and what is on it so far."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.pid, self._keys = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (31, 97))
            os.chdir(ROOT)
            os.execve(argv[0], argv, environment)  # noqa: S606
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def until(self, text: str) -> None:
        deadline = monotonic() + HUNG_SECONDS
        while text not in self.shown:
            assert monotonic() < deadline, self.shown
            self.shown += os.read(self._keys, 65536).decode(errors="replace")

    def cancel(self) -> int:
        """Ctrl-C until it ends: a program that is just about to read does not see the first one."""
        return self.end(press="\x03")

    def end(self, *, press: str = "") -> int:
        self.type(press)
        with suppress(OSError):  # The other side is closed.
            while True:
                while press and not select.select([self._keys], [], [], 5.0)[0]:
                    self.type(press)
                if not (data := os.read(self._keys, 65536)):
                    break
                self.shown += data.decode(errors="replace")
        os.close(self._keys)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.destroy()


@pytest.fixture
def laptop(tmp_path: Path, site: Site) -> Iterator[Laptop]:
    sshd = Sshd().allow(make_key(tmp_path / ".ssh" / "id_ed25519"))
    try:
        sshd.start()
        (tmp_path / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line())
        yield Laptop(tmp_path, sshd, site)
    finally:
        sshd.destroy()


def test_what_only_looks_passes_through_untouched(laptop: Laptop, site: Site) -> None:
    done = laptop.remote("--server", "here", "status", "--format", "json", "a b", "$HOME")
    expected: dict[str, Any] = {
        "by": "ada@laptop",
        "words": ["--format", "json", "a b", "$HOME"],
        "here": "/",
    }
    assert (done.stdout, done.returncode) == (f"{json.dumps(expected)}\n", 0), done.stderr
    assert done.stderr == "on stderr\n"
    assert site.containers() == []


def test_the_doctor_answers_where_no_container_can_be_started(laptop: Laptop, site: Site) -> None:
    (site.directory / "docker").mkdir()
    shutil.copy(ROOT / "docker/doctor", site.directory / "docker/doctor")

    done = laptop.remote("--server", "here", "doctor")

    assert done.returncode == 3
    assert f"There is no image {site.project}:utility" in done.stdout


def test_standard_input_reaches_it_and_its_exit_code_is_ours(laptop: Laptop) -> None:
    done = laptop.remote("shell", "--server=here", stdin="print(1)\n")
    assert (done.stdout, done.returncode) == ("reading\n'print(1)\\n'\n", 5), done.stderr


def test_a_deployment_in_a_pipe_has_plain_lines_and_its_own_exit_code(
    laptop: Laptop, site: Site
) -> None:
    done = laptop.remote("--server", "here", "deploy", "main")
    assert done.returncode == 1, done.stderr
    assert re.sub(r"^\d\d:\d\d:\d\d ", "", done.stdout, flags=re.MULTILINE).splitlines() == [
        "deploy main (deployment #7)",
        "fetch …",
        "fetch: --format json main (0.1 s)",
        '{"event": "from the future", "time": "now", "what": "?"}',
        "Failed: deployment #7 after 1.0 s (exit code 1)",
        "  | why",
        "It broke.",
        "It is as it was.",
        "Next: deploy",
    ]
    assert site.containers() == []


def test_a_deployments_json_passes_through_untouched(laptop: Laptop) -> None:
    done = laptop.remote("--server", "here", "deploy", "--format", "json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["started", "step_started", "step_succeeded", "from the future", "ended"]
    assert done.returncode == 1


def test_a_deployment_on_a_terminal_is_shown_as_on_the_server(laptop: Laptop) -> None:
    terminal = laptop.on_terminal("--server", "here", "deploy")
    assert terminal.end() == 1
    assert "\x1b[32m✓" in terminal.shown
    assert "Failed: deployment #7" in terminal.shown


def test_a_terminal_is_passed_on(laptop: Laptop) -> None:
    terminal = laptop.on_terminal("--server", "here", "shell")
    terminal.until("reading")
    terminal.type("typed\n\x04")
    assert terminal.end() == 5
    assert r"'typed\n'" in terminal.shown


def test_all_servers_are_asked_side_by_side_and_one_that_is_down_hides_no_other(
    laptop: Laptop,
) -> None:
    done = laptop.remote("--all", "status")
    assert done.returncode == 255
    assert "── here (127.0.0.1)\n" in done.stdout
    assert '"by": "ada@laptop"' in done.stdout
    assert "── down (127.0.0.1)\n" in done.stdout
    assert "the connection was refused" in done.stderr


def test_all_servers_as_json_are_one_object_a_line(laptop: Laptop) -> None:
    done = laptop.remote("--all", "status", "--format", "json")
    here, down = (json.loads(line) for line in done.stdout.splitlines())
    assert (here["server"], here["exit_code"], here["output"]["by"]) == ("here", 0, "ada@laptop")
    assert (down["server"], down["exit_code"]) == ("down", 255)
    assert "refused" in down["error"]["found"]


@pytest.mark.parametrize("words", [["deploy"], ["shell"], ["env", "push"], ["attach"]])
def test_what_changes_something_goes_to_one_server_at_a_time(
    settings: Settings, ops_settings: OpsSettingsFactory, words: list[str]
) -> None:
    settings.OPS = ops_settings(servers=("here=127.0.0.1:1/srv", "down=127.0.0.1:1/srv"))
    done = type_in("remote", "--all", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "one server at a time" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["status"],
        ["--server", "nowhere", "status"],
        ["--all", "status", "--server", "here"],
        ["--server", "here", "attach", "../etc"],
        ["--server", "here", "attach", "a", "b"],
        ["--server", "here", "env", "steal"],
    ],
)
def test_what_is_not_understood_is_usage_and_no_traceback(
    settings: Settings, ops_settings: OpsSettingsFactory, words: list[str]
) -> None:
    settings.OPS = ops_settings(servers=("here=127.0.0.1:1/srv", "down=127.0.0.1:1/srv"))
    done = type_in("remote", *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr


def test_a_setting_that_names_no_server_is_usage(
    settings: Settings, ops_settings: OpsSettingsFactory
) -> None:
    settings.OPS = ops_settings(servers=("nonsense",))
    done = type_in("remote", "status")
    assert done.returncode == 2
    assert "OPS_SERVERS has 'nonsense'" in done.stderr


def test_a_client_that_is_killed_ends_nothing_and_attach_shows_all(
    laptop: Laptop, site: Site
) -> None:
    client = laptop.begin("--server", "here", "backup_db", "-n", "150", "-p", "0.02", "-c", "6")
    assert client.stdout
    for _ in range(10):
        client.stdout.readline()
    client.kill()
    client.communicate()
    [name] = site.containers()
    assert site.is_running(name)
    done = laptop.remote("attach", name, "--server", "here")
    assert done.returncode == 6, done.stderr
    assert done.stdout.splitlines()[:-1] == [f"out {number}" for number in range(150)]
    assert site.containers() == []
    gone = laptop.remote("--server", "here", "attach")
    assert gone.returncode == 255
    assert "there is nothing to follow" in gone.stderr


def test_ctrl_c_in_a_pipe_ends_what_only_looks_there_too(laptop: Laptop, site: Site) -> None:
    client = laptop.begin("--server", "here", "logs", "-f")
    assert client.stdout
    assert client.stdout.readline() == "ready\n"
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=HUNG_SECONDS)
    assert client.returncode == 130
    wait_until(lambda: not site.containers())


def test_ctrl_c_in_a_pipe_leaves_what_changes_something_alone(laptop: Laptop, site: Site) -> None:
    client = laptop.begin("--server", "here", *LONG)
    assert client.stdout
    client.stdout.readline()
    client.send_signal(signal.SIGINT)
    _, told = client.communicate(timeout=HUNG_SECONDS)
    assert client.returncode == 255
    [name] = site.containers()
    assert f"Next: manage.py remote --server here attach {name}" in told
    assert site.is_running(name)


def test_ctrl_c_on_a_terminal_asks_and_cancels(laptop: Laptop, site: Site) -> None:
    terminal = laptop.on_terminal("--server", "here", *LONG)
    terminal.until("out 5")
    terminal.type("\x03")
    terminal.until("d: detach, c: cancel it, Enter: go on following")
    terminal.type("\n")
    terminal.until("out 100")
    terminal.type("\x03")
    terminal.until("out 100")
    terminal.type("c\n")
    assert terminal.end() == 130
    assert "asked to stop" in terminal.shown
    assert site.containers() == []


def test_a_deployment_on_a_terminal_steps_aside_for_the_question(
    laptop: Laptop, site: Site
) -> None:
    terminal = laptop.on_terminal("--server", "here", "deploy", "slow")
    terminal.until("--format json slow")
    terminal.type("\x03")
    terminal.until("d: detach, c: cancel it, Enter: go on following")
    terminal.type("c\n")
    assert terminal.end() == 130
    assert "Cancelled: deployment #7" in terminal.shown
    assert site.containers() == []


def test_a_reader_that_has_seen_enough_is_no_error(laptop: Laptop, site: Site) -> None:
    client = laptop.begin("--server", "here", "logs", "-f")
    assert client.stdout
    assert client.stderr
    client.stdout.readline()
    client.stdout.close()
    assert client.wait(HUNG_SECONDS) == 0
    assert client.stderr.read() == ""
    client.stderr.close()
    wait_until(lambda: not site.containers())


def test_a_deployment_whose_reader_is_gone_goes_on(laptop: Laptop, site: Site) -> None:
    client = laptop.begin("--server", "here", *LONG)
    assert client.stdout
    assert client.stderr
    client.stdout.readline()
    client.stdout.close()
    assert client.wait(HUNG_SECONDS) == 255
    assert "goes on" in client.stderr.read()
    client.stderr.close()
    [name] = site.containers()
    assert site.is_running(name)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_client_that_is_killed_leaves_nothing_that_only_looks(
    laptop: Laptop, site: Site, terminal: bool
) -> None:
    if terminal:
        on_terminal = laptop.on_terminal("--server", "here", "logs", "-f")
        on_terminal.until("ready")
        os.kill(on_terminal.pid, signal.SIGKILL)
        on_terminal.end()
    else:
        client = laptop.begin("--server", "here", "logs", "-f")
        assert client.stdout
        client.stdout.readline()
        client.kill()
        client.communicate()
    wait_until(lambda: not site.containers())
