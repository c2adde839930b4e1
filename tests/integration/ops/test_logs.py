"""`logs`, of real containers on the real engine."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from docker.errors import NotFound
from docker.models.containers import Container

import docker
from tests.servers import wait_until
from tests.typed import type_in

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim-trixie"
SECRET = "correct-horse-battery"

Start = Callable[..., Container]


@pytest.fixture
def project() -> str:
    return f"h-doctor-{secrets.token_hex(4)}"


@pytest.fixture
def start(project: str) -> Iterator[Start]:
    """Runs a shell line as a service of the project, until the test has ended."""
    client, started = docker.from_env(), list[Container]()

    def run(
        service: str, script: str, *, wait: bool = True, oneoff: bool = False, tty: bool = False
    ) -> Container:
        compose = {"project": project, "service": service, "oneoff": str(oneoff)}
        container = client.containers.run(
            IMAGE,
            entrypoint=["sh", "-c", script],
            detach=True,
            tty=tty,
            network_mode="none",
            labels={f"com.docker.compose.{name}": value for name, value in compose.items()},
        )
        started.append(container)
        if wait:
            container.wait(timeout=30)
        return container

    yield run
    for container in started:
        with suppress(NotFound):
            container.remove(force=True)
    client.close()


@pytest.fixture
def ops(project: str, settings: Any, ops_settings: OpsSettingsFactory) -> OpsSettings:
    settings.OPS = ops_settings(project=project)
    return settings.OPS


@pytest.fixture
def logs(ops: OpsSettings) -> Callable[..., list[str]]:
    def call(*arguments: str) -> list[str]:
        out = StringIO()
        call_command("logs", *arguments, stdout=out, stderr=StringIO())
        return out.getvalue().splitlines()

    return call


def said(lines: list[str]) -> list[str]:
    return [line.partition(" | ")[2] for line in lines]


def environment(project: str, **more: str) -> dict[str, str]:
    return {**os.environ, "COMPOSE_PROJECT_NAME": project, **more}


def argv(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "logs", *arguments]


def test_services_are_merged_by_time_and_the_colours_told_apart(start: Start, logs: Any) -> None:
    start("django-a", "echo one; sleep 0.4; echo three >&2", wait=False)
    start("django-b", "sleep 0.2; echo two; sleep 0.4; echo four")
    lines = logs()

    times = [line[:18] for line in lines]
    assert times == sorted(times)
    assert {line.split(" | ")[0].split()[-1]: line.split(" | ")[1] for line in lines}.keys() == {
        "blue",
        "green",
    }
    assert sorted(said(lines)) == ["four", "one", "three", "two"]
    assert said(logs("blue")) == said(logs("django-a")) == ["one", "three"]


def test_the_tail_is_of_what_is_wanted_and_not_of_what_there_is(start: Start, logs: Any) -> None:
    start("caddy", "for i in 1 2 3 4 5 6; do echo good $i; echo bad $i; done")

    assert said(logs("--tail", "2")) == ["good 6", "bad 6"]
    assert said(logs("--tail", "2", "--grep", "^good")) == ["good 5", "good 6"]
    assert said(logs("--tail", "0")) == []
    assert said(logs("--grep", "^BAD [12]$")) == []
    assert said(logs("--grep", "(?i)^BAD [12]$")) == ["bad 1", "bad 2"]


def test_without_a_limit_the_last_hundred_of_each_container_are_told(
    start: Start, logs: Any
) -> None:
    start("caddy", "seq 500")

    assert said(logs())[0] == "401"
    assert len(logs("--since", "1h")) == 500


def test_since_leaves_out_what_is_older(start: Start, logs: Any) -> None:
    start("caddy", "echo old; sleep 2.2; echo new")

    assert said(logs("--since", "2s")) == ["new"]
    assert said(logs("--since", "1d")) == ["old", "new"]
    assert said(logs("--since", "2020-01-01 00:00")) == ["old", "new"]


def test_a_line_that_docker_keeps_in_parts_is_one_line(start: Start, logs: Any) -> None:
    start("caddy", "python -c \"print('x' * 40000 + 'end'); print('y' * 16384); print('short')\"")
    long, exact, short = said(logs())

    assert (len(long), long[-3:], len(exact), short) == (40003, "end", 16384, "short")


def test_a_container_with_a_terminal_is_read_too(start: Start, logs: Any) -> None:
    start("utility", "echo one; echo two", oneoff=True, tty=True)

    assert said(logs()) == ["one", "two"]


def test_what_a_deployment_runs_beside_the_services_is_utility(start: Start, logs: Any) -> None:
    start("django-q", "echo proving", oneoff=True)

    assert said(logs("utility")) == ["proving"]
    assert said(logs("django-q")) == []


def test_control_characters_are_written_out(start: Start, logs: Any) -> None:
    start("caddy", r"printf '\033[31mred\033[0m \033]0;title\007 \033[2J back\rdone\n'")

    assert said(logs()) == [r"red \x1b]0;title\x07 \x1b[2J back\rdone"]


def test_secrets_are_hidden_also_from_grep(
    start: Start, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_PASSWORD", SECRET)
    start("caddy", f"echo with {SECRET} in it")

    assert said(logs()) == ["with ••• in it"]
    assert logs("--grep", SECRET) == []
    assert SECRET not in logs("--format", "json")[0]


def test_json_has_an_object_a_line(start: Start, logs: Any) -> None:
    container = start("django-b", r"printf 'a\033b\n'")
    (line,) = logs("--format", "json")
    record = json.loads(line)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z", record.pop("time"))
    assert record == {
        "service": "django-b",
        "color": "green",
        "container": container.id[:12],
        "line": "a\x1bb",
    }


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["nginx"], "There is no service nginx. There are: caddy, django-a"),
        (["--since", "yesterday"], '"yesterday" is no age and no time'),
        (["--since", "99999999999999d"], "is no age and no time"),
        (["--since", "2999-01-01"], "has not come yet"),
        (["--grep", "("], "is no regular expression"),
        (["--tail", "-1"], "is no number of lines"),
        (["--tail", "many"], "is no number of lines"),
    ],
)
def test_what_is_not_understood_ends_with_exit_code_2(
    ops: OpsSettings, arguments: list[str], found: str
) -> None:
    done = type_in("logs", *arguments)

    assert done.returncode == 2
    assert found in done.stderr


def test_a_service_without_a_container_is_said_to_have_no_log(ops: OpsSettings) -> None:
    done = type_in("logs", "caddy")

    assert (done.returncode, done.stdout) == (0, "")
    assert "No container of that has a log" in done.stderr


def test_docker_that_does_not_answer_is_said_and_what_to_type(
    ops: OpsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    done = type_in("logs")

    assert done.returncode == 1
    assert "Docker does not answer" in done.stderr
    assert "Next: sudo systemctl start docker" in done.stderr


def test_a_socket_that_may_not_be_used_is_told_from_a_docker_that_is_gone(
    project: str,
) -> None:
    """As a normal user, and with a socket of root's."""
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"os.execv(sys.executable, {argv()!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "sudo usermod --append --groups docker" in done.stderr


def test_who_reads_only_the_head_hears_nothing_of_a_broken_pipe(project: str, start: Start) -> None:
    start("caddy", "seq 20000")
    line = f"{' '.join(argv('--since', '1h'))} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", line], env=environment(project), capture_output=True, text=True, timeout=60
    )

    assert done.stdout.endswith(" | 1\n")
    assert done.stderr == ""


class Following:
    """`logs --follow`, at a pipe or (`terminal`) at a terminal."""

    def __init__(self, project: str, *arguments: str, terminal: bool = False) -> None:
        self.read, write = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            argv("--follow", *arguments),
            env=environment(project),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write)
        os.set_blocking(self.read, False)
        self.text = ""

    def has(self, text: str) -> bool:
        with suppress(BlockingIOError):
            self.text += os.read(self.read, 100_000).decode()
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        return text in self.text


@pytest.fixture
def follow(project: str) -> Iterator[Callable[..., Following]]:
    followed: list[Following] = []

    def run(*arguments: str, terminal: bool = False) -> Following:
        followed.append(Following(project, *arguments, terminal=terminal))
        return followed[-1]

    yield run
    for one in followed:
        one.process.kill()
        one.process.communicate()
        os.close(one.read)


def test_following_goes_on_with_the_container_that_takes_anothers_place(
    start: Start, follow: Callable[..., Following]
) -> None:
    first = start("django-a", "echo first; sleep 60", wait=False)
    following = follow()
    wait_until(lambda: following.has("first"))
    first.remove(force=True)
    start("django-a", "echo second; sleep 60", wait=False)
    wait_until(lambda: following.has("second"))
    start("django-b", "echo third", wait=False)
    wait_until(lambda: following.has("third"))

    assert [len(re.findall(word, following.text)) for word in ("first", "second", "third")] == [
        1,
        1,
        1,
    ]


def test_following_goes_on_after_a_restart_and_tells_nothing_twice(
    start: Start, follow: Callable[..., Following]
) -> None:
    container = start("django-a", "date +%s.%N; exec sleep 60", wait=False)
    following = follow()
    wait_until(lambda: following.has(" | "))
    container.restart(timeout=0)
    wait_until(lambda: following.has("\n") and following.text.count(" | ") == 2)
    stamps = said(following.text.splitlines())

    assert len(set(stamps)) == 2


def test_ctrl_c_ends_it_quietly(start: Start, follow: Callable[..., Following]) -> None:
    start("django-a", "echo here; sleep 60", wait=False)
    following = follow()
    wait_until(lambda: following.has("here"))
    following.process.send_signal(signal.SIGINT)
    _, errors = following.process.communicate(timeout=30)

    assert (following.process.returncode, errors) == (130, "")


def test_at_a_terminal_the_colours_have_colours(
    start: Start, follow: Callable[..., Following]
) -> None:
    start("django-a", "echo here")
    start("django-b", "echo there")
    following = follow(terminal=True)
    wait_until(lambda: following.has("here") and following.has("there"))

    assert re.search(r"\x1b\[34m[^\x1b]*blue *\x1b\[0m \| here", following.text)
    assert re.search(r"\x1b\[32m[^\x1b]*green *\x1b\[0m \| there", following.text)


def test_an_unknown_service_raises_before_anything_is_read(logs: Any) -> None:
    with pytest.raises(CommandError, match="There is no service nobody"):
        logs("nobody")


def test_its_own_container_is_left_out(
    start: Start, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it tells would be told again, and again."""
    own = start("utility", "echo mine", oneoff=True)
    start("utility", "echo theirs", oneoff=True)
    monkeypatch.setattr(socket, "gethostname", lambda: str(own.id)[:12])

    assert said(logs()) == ["theirs"]
