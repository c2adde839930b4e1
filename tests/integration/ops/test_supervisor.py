"""docker/supervisor: the real supervisord on the files as they are, and a small project on the real
engine. Only dockerd is a stand-in: a second one here would take the first one's place."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

import docker
from apps.ops.health.checks import supervisor as check
from apps.ops.health.result import Status
from tests.servers import HUNG_SECONDS, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim-trixie"
SOCKET = Path("/run/changeover/supervisor.sock")
BOOT_SECONDS = 90
COMPOSE = """
x-app: &app
  image: {image}
  network_mode: none
  stop_grace_period: 0s
  entrypoint: [sleep, infinity]
  healthcheck: {{test: ["CMD", "true"], interval: 1s}}
services:
  caddy:
    <<: *app
    volumes: ["edge:/srv/edge"]
  django-a: {{<<: *app, image: "{project}:blue", pull_policy: never}}
  django-b: {{<<: *app, image: "{project}:green", pull_policy: never}}
volumes:
  edge:
"""
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


POINT_TO_GREEN = "mkdir -p /srv/edge/live; touch /srv/edge/live/green"
BROKEN = (
    "services:\n  broken: {image: 'nobody/has:this', pull_policy: never, entrypoint: [nothing]}\n"
)


class Project:
    """A checkout with this directory's files and three small services; only what `deployed` names
    has an image."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "site"
        self.name = f"h-doctor-{secrets.token_hex(4)}"
        self.client = docker.from_env()
        shutil.copytree(ROOT / "docker/supervisor", self.directory / "docker/supervisor")
        self.write(COMPOSE.format(image=IMAGE, project=self.name))
        (self.directory / ".env").write_text(f"COMPOSE_PROJECT_NAME={self.name}\n")

    def write(self, compose: str) -> None:
        (self.directory / "compose.yml").write_text(compose)

    def deployed(self, *colors: str) -> None:
        for color in colors:
            self.client.images.get(IMAGE).tag(self.name, color)

    def compose(self, *arguments: str) -> None:
        subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.directory,
            check=True,
            capture_output=True,
            timeout=BOOT_SECONDS,
        )

    def script(self, **more: str) -> dict[str, Any]:
        path = os.environ["PATH"]
        return {
            "args": [str(self.directory / "docker/supervisor/stack"), "--once"],
            "env": {"PATH": path, **more},
        }

    def boot(self, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            **self.script(**more), capture_output=True, text=True, timeout=BOOT_SECONDS, check=False
        )

    def running(self) -> set[str]:
        label = f"com.docker.compose.project={self.name}"
        found = self.client.containers.list(filters={"label": label})
        return {c.labels["com.docker.compose.service"] for c in found}

    def destroy(self) -> None:
        label = {"label": f"com.docker.compose.project={self.name}"}
        for container in self.client.containers.list(all=True, filters=label):
            container.remove(force=True, v=True)
        for volume in self.client.volumes.list(filters=label):
            volume.remove(force=True)
        for network in self.client.networks.list(filters=label):
            network.remove()
        for image in self.client.images.list(name=self.name):
            for tag in image.tags:
                if tag.startswith(f"{self.name}:"):
                    self.client.images.remove(tag)
        self.client.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.destroy()


# --- stack ----------------------------------------------------------------------------------------


def test_a_colour_that_was_never_deployed_is_left_alone(project: Project) -> None:
    project.deployed("blue")
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "django-a is live and healthy" in booted.stdout
    assert project.running() == {"caddy", "django-a"}


def test_who_is_live_is_asked_of_the_edge(project: Project) -> None:
    project.deployed("blue", "green")
    project.compose("run", "--rm", "-T", "--entrypoint", "sh", "caddy", "-c", POINT_TO_GREEN)
    (project.directory / ".env").open("a").write("OPS_KEEP_STANDBY=False\n")
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "django-b is live and healthy" in booted.stdout
    assert project.running() == {"caddy", "django-b"}


def test_where_nothing_was_deployed_nothing_is_started(project: Project) -> None:
    booted = project.boot()

    assert (booted.returncode, booted.stdout) == (0, "stack: nothing was deployed yet\n")
    assert project.running() == set()


def test_a_running_deployment_is_waited_for(project: Project) -> None:
    project.deployed("blue")
    container = project.client.containers.run(
        IMAGE,
        entrypoint=["sh", "-c", "sleep 60 # manage.py deploy"],
        detach=True,
        labels={
            "com.docker.compose.project": project.name,
            "com.docker.compose.oneoff": "True",
            "com.docker.compose.service": "utility",
        },
    )
    with subprocess.Popen(**project.script(), stdout=subprocess.PIPE, text=True) as booting:
        assert booting.stdout
        assert booting.stdout.readline() == "stack: a deployment runs: waiting for its end\n"
        assert project.running() == {"utility"}
        container.remove(force=True)
        assert booting.wait(BOOT_SECONDS) == 0
    assert project.running() == {"caddy", "django-a"}


def test_one_service_that_cannot_start_does_not_keep_the_others_down(project: Project) -> None:
    project.deployed("blue", "green")
    compose = COMPOSE.format(image=IMAGE, project=project.name)
    project.write(compose.replace("services:\n", BROKEN))
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "broken did not come up" in booted.stdout
    assert project.running() == {"caddy", "django-a", "django-b"}


def test_a_live_colour_that_does_not_get_healthy_is_said(project: Project) -> None:
    project.deployed("blue")
    compose = COMPOSE.format(image=IMAGE, project=project.name)
    project.write(compose.replace('"true"', '"false"'))
    booted = project.boot(STACK_SECONDS="8")

    assert booted.returncode == 1
    assert "Next: docker compose logs --tail 50 django-a" in booted.stdout


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
