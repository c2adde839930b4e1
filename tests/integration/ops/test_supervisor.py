"""docker/supervisor: the real supervisord on the files as they are, and a small project on the real
engine. Only dockerd is a stand-in: a second one here would take the first one's place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

from apps.ops.health.checks import supervisor as check
from apps.ops.health.result import Status
from tests.integration.ops.small_project import BOOT_SECONDS, ROOT, Project
from tests.servers import HUNG_SECONDS, wait_until

pytestmark = pytest.mark.slow

SOCKET = Path("/run/changeover/supervisor.sock")
# Like dockerd, it takes a live process of its pidfile's number for another dockerd.
DOCKERD = """#!{python}
import os, signal, socket, sys
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
pidfile = Path(arguments["--pidfile"])
if pidfile.exists() and Path("/proc", pidfile.read_text()).exists():
    sys.exit("process with that PID is still running")
listener = socket.socket(socket.AF_UNIX)
listener.bind(arguments["--host"].removeprefix("unix://"))
listener.listen()
pidfile.write_text(str(os.getpid()))
print("dockerd serves", flush=True)
signal.pause()
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.destroy()


# --- engine ---------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Runs `engine` with places of its own and the stand-in for dockerd."""
    programs = tmp_path / "bin"
    programs.mkdir()
    _write_dockerd(programs)
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [ROOT / "docker/supervisor/engine"],
                env=_engine_places(tmp_path, programs),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _write_dockerd(programs: Path) -> None:
    (programs / "dockerd").write_text(DOCKERD.format(python=shutil.which("python3")))
    (programs / "dockerd").chmod(0o755)


def _engine_places(directory: Path, programs: Path) -> dict[str, str]:
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ENGINE_PIDFILE": str(directory / "docker.pid"),
        "ENGINE_SOCKET": str(directory / "docker.sock"),
        "ENGINE_CONTAINERD": str(directory / "containerd.sock"),
    }


def test_what_a_killed_engine_left_does_not_keep_the_next_one_down(
    engine: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = engine()
    assert first.stdout
    wait_until(lambda: (tmp_path / "docker.pid").exists())
    first.kill()
    first.wait()
    # Its number is soon another process's: here it is ours.
    (tmp_path / "docker.pid").write_text(str(os.getpid()))
    second = engine()
    assert second.stdout

    assert second.stdout.readline() == "engine: starting Docker\n"
    assert second.stdout.readline() == "dockerd serves\n"


def test_an_engine_that_runs_is_not_doubled_and_is_followed_by_ours(
    engine: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = engine()
    wait_until(lambda: (tmp_path / "docker.pid").exists())
    second = engine()
    assert second.stdout
    assert "waiting for its end" in second.stdout.readline()

    first.terminate()
    first.wait()
    assert second.stdout.readline() == "engine: starting Docker\n"
    assert second.stdout.readline() == "dockerd serves\n"


# --- supervisord ----------------------------------------------------------------------------------


@pytest.fixture
def supervisord(project: Project, tmp_path: Path) -> Iterator[ServerProxy]:
    """Debian's supervisord, as root, told by `install` what to run."""
    if shutil.which("supervisord") is None:
        pytest.fail("There is no supervisord here: the test image has Debian's `supervisor`.")
    programs = tmp_path / "bin"
    programs.mkdir()
    _write_dockerd(programs)
    install(project, tmp_path / "root")
    for directory in (SOCKET.parent, Path("/var/log/supervisor")):
        directory.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        ["supervisord", "-n", "-c", str(tmp_path / "root/etc/supervisor/supervisord.conf")],
        env=_engine_places(tmp_path, programs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(SOCKET.exists)
        with ServerProxy("http://supervisor", transport=check._Unix(SOCKET)) as proxy:
            yield proxy
    finally:
        process.terminate()
        process.wait(HUNG_SECONDS)


def install(project: Project, root: Path) -> str:
    done = subprocess.run(
        [project.directory / "docker/supervisor/install"],
        env={**os.environ, "DESTDIR": str(root)},
        capture_output=True,
        text=True,
        timeout=HUNG_SECONDS,
        check=True,
    )
    return done.stdout


def states(supervisord: ServerProxy) -> dict[str, str]:
    answer: Any = supervisord.supervisor.getAllProcessInfo()
    return {str(program["name"]): str(program["statename"]) for program in answer}


def pid(supervisord: ServerProxy, name: str) -> int:
    answer: Any = supervisord.supervisor.getProcessInfo(name)
    return int(answer["pid"])


def test_supervisor_keeps_both_programs_up_and_the_stack_with_them(
    project: Project, supervisord: ServerProxy, ops_settings: Any
) -> None:
    project.deployed("blue")
    wait_until(lambda: project.running() == {"caddy", "django-a"}, BOOT_SECONDS)
    wait_until(lambda: states(supervisord) == {"docker": "RUNNING", "stack": "RUNNING"})
    killed = pid(supervisord, "docker")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: pid(supervisord, "docker") not in (0, killed))
    wait_until(lambda: states(supervisord)["docker"] == "RUNNING")

    found = check.look(ops_settings(supervisor_socket=SOCKET))
    assert (found.status, found.figures) == (Status.GOOD, {"programs": 2})


def test_only_root_may_ask_supervisor(supervisord: ServerProxy) -> None:
    assert SOCKET.stat().st_mode & 0o777 == 0o700
    assert SOCKET.stat().st_uid == 0


def test_installing_keeps_what_was_there_and_does_nothing_the_second_time(
    project: Project, tmp_path: Path
) -> None:
    conf = tmp_path / "etc/supervisor/supervisord.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("; somebody's\n")

    assert f"wrote {conf}" in install(project, tmp_path)
    assert conf.with_name("supervisord.conf.before-changeover").read_text() == "; somebody's\n"
    assert install(project, tmp_path) == ""
    assert (tmp_path / "etc/default/supervisor").read_text().count("mkdir") == 1


# --- doctor, where Docker is gone -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "host", "code", "found"),
    [
        ((), "unix:///nowhere.sock", 1, "!! Docker does not answer."),
        (
            ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            "",
            3,
            "!! Docker's socket does not let this user in.\n   → sudo usermod",
        ),
    ],
)
def test_where_no_container_can_be_started_just_doctor_says_why(
    prefix: tuple[str, ...], host: str, code: int, found: str
) -> None:
    environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    done = subprocess.run(
        [*prefix, ROOT / "docker/doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HUNG_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, "")
    assert found in done.stdout
