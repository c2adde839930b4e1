"""`cancel`, with a real lock that another process holds for as long as a real container runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from docker.errors import NotFound
from docker.models.containers import Container
from pytest_django import Settings

import docker
from apps.ops.deploys.cancel import Cancellation, cancel
from apps.ops.deploys.journal import Journal, record
from apps.ops.stack.engine import Engine

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim-trixie"
UID = "20261123T120000-abcdef"
HOLD = """
import socket, subprocess, sys
from pathlib import Path
state, uid, container = sys.argv[1:]
socket.gethostname = lambda: container
from apps.ops.deploys.lock import deploy_lock
with deploy_lock(Path(state), holder="grace deploys main", uid=uid):
    print("held", flush=True)
    subprocess.run(["docker", "wait", container])
    sys.stdin.read(1) if container == "elsewhere" else None
"""
ENDS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
STAYS = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]

Hold = Callable[[str], None]


@pytest.fixture
def state(settings: Settings, ops_settings: OpsSettingsFactory) -> Path:
    settings.OPS = ops_settings()
    settings.OPS.state_dir.mkdir()
    directory: Path = settings.OPS.state_dir
    return directory


@pytest.fixture
def container() -> Iterator[Callable[[list[str]], Container]]:
    """Runs what stands for a deployment's container, until the test has ended."""
    client, started = docker.from_env(), list[Container]()

    def start(argv: list[str]) -> Container:
        started.append(
            client.containers.run(IMAGE, entrypoint=argv, detach=True, network_mode="none")
        )
        return started[-1]

    yield start
    for one in started:
        with suppress(NotFound):
            one.remove(force=True)
    client.close()


@pytest.fixture
def hold(state: Path) -> Iterator[Hold]:
    """Another process that holds the lock while a container runs."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(state), UID, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tell(state: Path, *records: dict[str, Any]) -> None:
    journal = Journal(state, UID)
    for each in records:
        journal.append(each)
    journal.close()


def ended(exit_code: int, status: str) -> dict[str, Any]:
    return record("ended", status=status, exit_code=exit_code, warnings=[])


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        call_command("cancel")
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.usefixtures("state")
def test_where_nobody_deploys_nothing_is_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == (0, "Nothing runs.\n", "")


def test_a_deployment_before_the_swap_stops_and_is_undone(
    state: Path,
    hold: Hold,
    container: Callable[[list[str]], Container],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hold(container(ENDS).id[:12])
    tell(state, ended(130, "interrupted"))

    code, out, _ = run(capsys)

    assert code == 0
    assert out.startswith("Asked to stop: grace deploys main, since ")
    assert "what it had done is undone. Traffic was never moved." in out


def test_after_the_swap_it_is_too_late(
    state: Path,
    hold: Hold,
    container: Callable[[list[str]], Container],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hold(container(ENDS).id[:12])
    tell(state, record("swapped", at="2026-11-23T12:00:00+00:00"), ended(0, "succeeded"))

    code, _, err = run(capsys)

    assert code == 1
    assert "It was too late: it had moved the traffic, and has finished." in err
    assert "Next: manage.py rollback" in err


def test_one_that_does_not_stop_is_waited_for_so_long_and_no_longer(
    state: Path, hold: Hold, container: Callable[[list[str]], Container]
) -> None:
    hold(container(STAYS).id[:12])

    done = cancel(state, Engine("test"), seconds=0.3)

    assert isinstance(done, Cancellation)
    assert (done.freed, done.too_late) == (False, False)


def test_one_that_runs_in_no_container_is_not_ours_to_end(
    hold: Hold, capsys: pytest.CaptureFixture[str]
) -> None:
    hold("elsewhere")

    code, _, err = run(capsys)

    assert code == 1
    assert "grace deploys main" in err
    assert "runs in no container here" in err
    assert "Next: kill -TERM " in err
