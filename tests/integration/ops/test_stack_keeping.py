"""docker/supervisor/stack as supervisor runs it: it stays, and keeps up what should run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.ops.small_project import COMPOSE, IMAGE, Project
from tests.servers import wait_until

pytestmark = pytest.mark.slow

REDIS = """  redis:
    image: {image}
    stop_grace_period: 0s
    entrypoint: [sleep, infinity]
    ports: ["127.0.0.1:{port}:1"]
"""
# Reads and hands on, both ways, until it is killed.
ROAD = """
import socket, socketserver, sys, threading
def pump(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(sys.argv[2])
            threading.Thread(target=pump, args=(self.request, engine), daemon=True).start()
            pump(engine, self.request)
socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.destroy()


class Road:
    """A socket to the real engine. What used it sees an engine that ended when it is `cut`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        self._process = subprocess.Popen(
            [shutil.which("python3") or "", "-c", ROAD, self.path, host.removeprefix("unix://")]
        )
        wait_until(self.path.exists)

    def cut(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    made = Road(tmp_path / "engine.sock")
    made.open()
    yield made
    made.cut()


@pytest.fixture
def keeping(project: Project, road: Road) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Runs `stack` as supervisor does, over a road of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        script = project.script(DOCKER_HOST=f"unix://{road.path}", STACK_LOOK_SECONDS="0.2")
        script["args"].remove("--once")
        process = subprocess.Popen(
            **script, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_what_a_killed_engine_left_stopped_comes_up_with_the_next_one(
    project: Project, road: Road, keeping: Callable[[], subprocess.Popen[str]]
) -> None:
    project.deployed("blue", "green")
    stack = keeping()
    read_until(stack, "django-a is live and healthy")
    road.cut()
    # As the next engine finds them: it ends them, as if somebody had asked.
    project.compose("stop")
    assert project.running() == set()
    road.open()
    read_until(stack, "django-a is live and healthy")
    assert project.running() == {"caddy", "django-a", "django-b"}


def test_what_docker_gave_up_is_started_once_it_can_and_what_a_person_stopped_is_not(
    project: Project, keeping: Callable[[], subprocess.Popen[str]]
) -> None:
    project.deployed("blue", "green")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        redis = REDIS.format(image=IMAGE, port=taken.getsockname()[1])
        compose = COMPOSE.format(image=IMAGE, project=project.name)
        project.write(compose.replace("services:\n", f"services:\n{redis}"))
        stack = keeping()
        read_until(stack, "django-a is live and healthy")
        project.compose("stop", "django-b")
        assert project.running() == {"caddy", "django-a"}
    assert "address already in use" in read_until(stack, "started what Docker had given up")
    assert project.running() == {"caddy", "django-a", "redis"}
