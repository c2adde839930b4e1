"""The bake with the real Caddy and its real log; of Docker only what it would say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy, Options
from apps.ops.deploys.steps import bake as bake_module
from apps.ops.deploys.steps.bake import Bake
from apps.ops.edge.probe import Answer
from apps.ops.edge.probe import ask as probe
from apps.ops.errors import SwappedBack
from apps.ops.stack.engine import Engine
from apps.ops.stack.log_follower import split_lines
from apps.ops.stack.service import Service
from tests.integration.ops.front_door import ADDRESSES, HOST, FrontDoor

pytestmark = pytest.mark.slow


class EngineWithout(Engine):
    def __init__(self) -> None:
        super().__init__("test")
        self.services = {name: _running(name) for name in ADDRESSES}

    def service(self, name: str) -> Service | None:
        return self.services.get(name)

    def logs(self, name: str, *, lines: int) -> str:
        return "its last line"


def _running(name: str) -> Service:
    return Service(
        name=name,
        container=name,
        status="running",
        health="healthy",
        release="",
        image="i",
        started_at="",
        restarts=0,
        exit_code=0,
        address=ADDRESSES[name],
    )


class FileFollower:
    """Caddy's log, which is a file here and Docker's in production."""

    path: Path
    opened = True

    def __init__(self, project: str, service: str, *, since: float) -> None:
        self._file = self.path.open("rb")

    def lines(self) -> Iterator[bytes]:
        yield from split_lines(self._file.readlines())

    def stop(self) -> None:
        self._file.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[FrontDoor]:
    (tmp_path / "door").mkdir()
    door = FrontDoor(tmp_path / "door").start()
    yield door
    door.stop()


@pytest.fixture
def swapped(deploy: Deploy, door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """A deployment whose swap from blue to green was a moment ago, after good answers."""
    deploy.settings = replace(
        deploy.settings, bake_seconds=3.0, caddy_admin=door.admin, drain_seconds=5.0
    )
    deploy.edge, deploy.engine = door.edge, EngineWithout()
    monkeypatch.setattr(FileFollower, "path", door.directory / "log", raising=False)
    monkeypatch.setattr(bake_module, "LogFollower", FileFollower)
    monkeypatch.setattr(bake_module, "WEB_PORT", door._upstream_port)
    probes_answer(monkeypatch, None)
    for _ in range(30):
        door.get("/status/200")
    deploy.swapped_at = datetime.now(UTC)
    deploy.edge.point_to(Color.GREEN)
    return deploy


def probes_answer(monkeypatch: pytest.MonkeyPatch, wrong: Answer | None) -> None:
    def front_door(*_: object) -> Callable[[], Answer | None]:
        return lambda: wrong

    monkeypatch.setattr(bake_module, "front_door", front_door)


@contextmanager
def visitors(door: FrontDoor, *paths: str) -> Iterator[None]:
    """They ask for one path after the other until this ends."""
    leaving = Event()

    def visit() -> None:
        while not leaving.is_set():
            for path in paths:
                door.get(path)
            sleep(0.01)

    thread = Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join()


def test_a_good_release_stays_and_the_figures_are_kept(swapped: Deploy, door: FrontDoor) -> None:
    with visitors(door, "/status/200"):
        summary = Bake().run(swapped)

    assert summary.startswith("good: 0.0 % of ")
    assert swapped.bake["verdict"] == "good"
    assert swapped.bake["old"]["requests"] == 30
    assert swapped.bake["new"]["requests"] >= 20
    assert swapped.edge.live() is Color.GREEN
    assert not swapped.warnings


def test_a_release_that_fails_its_visitors_is_moved_back(swapped: Deploy, door: FrontDoor) -> None:
    written: list[dict[str, object]] = []
    swapped.write_ahead = lambda step, facts: written.append({"live": door.edge.live(), **facts})
    with (
        visitors(door, *["/status/200"] * 9, "/status/500"),
        pytest.raises(SwappedBack, match="were 5xx") as moved,
    ):
        Bake().run(swapped)

    assert swapped.edge.live() is Color.BLUE
    assert swapped.moved_back
    assert swapped.bake["verdict"] == "worse"
    assert moved.value.output == "its last line"
    assert written[0]["live"] is Color.GREEN, "it is written down before it is done"
    assert written[0]["moving_back"] is True


def test_after_a_power_cut_nothing_counts_that_nobody_watched(
    swapped: Deploy, door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped.resumed = True
    services = swapped.engine.services  # type: ignore[attr-defined]
    services["django-b"] = replace(services["django-b"], restarts=2)
    looks = []
    with ExitStack() as boot:
        # It starts, and is not up yet; the old colour is.
        boot.enter_context(visitors(door, "/status/503"))

        def ask(address: str, *args: Any, **how: Any) -> Answer:
            if address.startswith(ADDRESSES["django-b"]):
                looks.append(address)
                if len(looks) < 5:
                    return Answer(503)
                boot.close()
            return probe(address, *args, **how)

        monkeypatch.setattr(bake_module, "ask", ask)
        with visitors(door, "/status/200"):
            assert Bake().run(swapped).startswith("good: 0.0 % of ")

    assert swapped.edge.live() is Color.GREEN
    assert len(door.access_log("/status/503")) > swapped.settings.bake_min_requests


def test_what_an_outsider_breaks_off_moves_no_traffic(swapped: Deploy, door: FrontDoor) -> None:
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with visitors(door, "/status/200"):
        outsider = Thread(
            target=lambda: [(door.send(head + b"zz\r\n"), sleep(0.1)) for _ in range(25)]
        )
        outsider.start()
        summary = Bake().run(swapped)
        outsider.join()

    assert summary.startswith("good: 0.0 % of ")
    assert swapped.edge.live() is Color.GREEN


def test_without_visitors_the_probes_decide(
    swapped: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Bake().run(swapped) == "too few requests to judge (0); the probes were right"
    assert swapped.bake["verdict"] == "too few requests"

    swapped.settings = replace(swapped.settings, bake_seconds=30.0)
    probes_answer(monkeypatch, Answer(500, reason="Internal Server Error"))
    with pytest.raises(SwappedBack, match="3 probes in a row wrong: 500 Internal Server Error"):
        Bake().run(swapped)
    assert swapped.edge.live() is Color.BLUE


def test_a_caddy_that_is_away_is_not_the_releases_fault(
    swapped: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes_answer(monkeypatch, Answer(0, reason="no answer (ConnectionRefusedError)"))
    swapped.settings = replace(swapped.settings, bake_seconds=5.0)
    runs = swapped.settings.caddy_admin
    swapped.settings = replace(swapped.settings, caddy_admin=Path("/nowhere"))

    assert Bake().run(swapped).startswith("too few requests")
    assert swapped.edge.live() is Color.GREEN

    # One that runs, and gives no answer for the colour that it asks, is the colour's fault.
    swapped.settings = replace(swapped.settings, caddy_admin=runs, bake_seconds=30.0)
    with pytest.raises(SwappedBack, match="3 probes in a row wrong: no answer"):
        Bake().run(swapped)


@pytest.mark.parametrize(
    ("left", "why"),
    [({"status": "exited", "exit_code": 137}, "exit code 137"), ({"restarts": 2}, "2 times")],
)
def test_a_crash_is_worse(swapped: Deploy, left: dict[str, object], why: str) -> None:
    services = swapped.engine.services  # type: ignore[attr-defined]
    services["django-b"] = replace(services["django-b"], **left)

    with pytest.raises(SwappedBack, match=why):
        Bake().run(swapped)


def test_what_breaks_the_old_colour_too_is_not_the_releases_fault(
    swapped: Deploy, door: FrontDoor
) -> None:
    door.take_down("django-a")  # It runs, and is not ready.

    with visitors(door, "/status/500"):
        Bake().run(swapped)

    assert swapped.edge.live() is Color.GREEN
    assert not swapped.moved_back
    assert swapped.bake["verdict"] == "too few requests"


def test_without_an_old_colour_a_bad_release_stays_with_a_warning(
    swapped: Deploy, door: FrontDoor
) -> None:
    del swapped.engine.services["django-a"]  # type: ignore[attr-defined]

    with visitors(door, "/status/500"):
        assert Bake().run(swapped) == "worse, and no way back"

    assert swapped.edge.live() is Color.GREEN
    assert "there is no blue to go back to" in swapped.warnings[0]
    assert "were 5xx" in swapped.warnings[0]


def test_after_contract_migrations_there_is_no_way_back(swapped: Deploy, door: FrontDoor) -> None:
    swapped.intend("migrate", contract=True)

    with visitors(door, "/status/500"):
        Bake().run(swapped)

    assert swapped.edge.live() is Color.GREEN
    assert "changed the schema" in swapped.warnings[0]


def test_no_bake_does_not_watch(swapped: Deploy) -> None:
    swapped.options = Options(bake=False)

    assert Bake().run(swapped) == "not watched"
