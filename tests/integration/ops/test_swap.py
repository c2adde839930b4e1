"""The swap step with real edge files and real HTTP; only Docker is not there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast

import pytest

from apps.ops.colors import Color
from apps.ops.deploys import proof
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.steps.swap import Swap
from apps.ops.deploys.watch import Watch
from apps.ops.edge.files import Edge
from apps.ops.errors import StepFailed, SwappedBack
from apps.ops.stack.engine import Engine, EngineAway
from apps.ops.stack.service import Service
from tests.integration.ops.conftest import NEW, OLD, begin
from tests.integration.ops.test_runner import Heard

RUNNING = Service(
    name="django-b",
    container="c",
    status="running",
    health="healthy",
    release=NEW,
    image="i",
    started_at="",
    restarts=0,
    exit_code=0,
    address="127.0.0.1",
)


class EngineWithout(Engine):
    """Docker is not there in these tests: what it would say about the candidate."""

    def __init__(self) -> None:
        super().__init__("test")
        self.candidate: Service | None = RUNNING
        self.on_logs: Callable[[], str] = lambda: "its last line"

    def service(self, name: str) -> Service | None:
        return self.candidate

    def logs(self, name: str, *, lines: int) -> str:
        return self.on_logs()


class Site(ThreadingHTTPServer):
    """The front door and both colours in one: it answers as the edge says, or as a test says."""

    daemon_threads = True

    def __init__(self, edge: Edge) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.edge = edge
        self.ready = 200
        self.green_answers = (200, NEW, "green")
        self.asked: list[tuple[str, str]] = []
        Thread(target=self.serve_forever, args=(0.01,)).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = cast("Site", self.server)
        site.asked.append((self.path, self.headers["Host"]))
        status, release, color = (200, OLD, "blue")
        if self.path == "/health/ready":
            status = site.ready
        elif site.edge.live() is Color.GREEN:
            status, release, color = site.green_answers
        self.send_response(status)
        self.send_header("X-Release", release)
        self.send_header("X-Color", color)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def engine(deploy: Deploy) -> EngineWithout:
    engine = EngineWithout()
    deploy.engine = engine
    return engine


@pytest.fixture
def site(deploy: Deploy, engine: EngineWithout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(proof, "PROOF_SECONDS", 0.3)
    site = Site(deploy.edge)
    deploy.settings = replace(
        deploy.settings, probe_address=site.address, site_host="example.org", start_seconds=3.0
    )
    deploy.watch = Watch(site.address, host="example.org")
    try:
        yield site
    finally:
        deploy.watch.stop()
        site.shutdown()
        site.server_close()


def test_the_traffic_moves_to_a_candidate_that_proves_itself(deploy: Deploy, site: Site) -> None:
    assert Swap().run(deploy) == "blue → green"

    assert deploy.edge.live() is Color.GREEN
    assert deploy.swapped
    assert site.asked[-3:] == [("/", "example.org")] * 3


def test_a_candidate_that_is_never_ready_for_long_enough_gets_no_traffic(
    deploy: Deploy, site: Site
) -> None:
    site.ready = 503

    with pytest.raises(StepFailed, match=r"django-b was never ready for 0\.05 s in a row: 503"):
        Swap().run(deploy)

    assert deploy.edge.live() is Color.BLUE
    assert deploy.swapped_at is None


@pytest.mark.parametrize(
    ("candidate", "found"),
    [
        (replace(RUNNING, status="exited", exit_code=3), "django-b crashed (exit code 3)."),
        (replace(RUNNING, restarts=1), "django-b crashed (exit code 0)."),
        (None, "django-b is gone: somebody removed its container."),
    ],
)
def test_a_candidate_that_crashed_gets_no_traffic(
    deploy: Deploy, site: Site, engine: EngineWithout, candidate: Service | None, found: str
) -> None:
    engine.candidate = candidate

    with pytest.raises(StepFailed) as caught:
        Swap().run(deploy)

    assert caught.value.found == found
    assert caught.value.output == "its last line"
    assert deploy.edge.live() is Color.BLUE


def test_traffic_that_somebody_else_moved_is_left_where_it_is(deploy: Deploy, site: Site) -> None:
    deploy.edge.point_to(Color.GREEN)

    with pytest.raises(StepFailed, match="somebody else moved it"):
        Swap().run(deploy)

    assert deploy.edge.live() is Color.GREEN


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((502, "", ""), "502 Bad Gateway"),
        ((200, OLD, "green"), "200 OK from release aaaaaaaaaaaa (green)"),
        ((200, NEW, "blue"), "200 OK from release bbbbbbbbbbbb (blue)"),
        ((500, NEW, "green"), "500 Internal Server Error from release bbbbbbbbbbbb (green)"),
    ],
)
def test_traffic_is_moved_back_from_a_candidate_that_does_not_prove_itself(
    deploy: Deploy, site: Site, answers: tuple[int, str, str], said: str
) -> None:
    site.green_answers = answers

    with pytest.raises(SwappedBack) as caught:
        Swap().run(deploy)

    assert deploy.edge.live() is Color.BLUE
    assert not deploy.swapped
    assert caught.value.found == (
        f"After the swap the front door answered {said}, not release bbbbbbbbbbbb (green)."
    )


def test_in_maintenance_nobody_is_answered_so_nothing_is_proved(deploy: Deploy, site: Site) -> None:
    (deploy.settings.edge_dir / "maintenance").parent.mkdir(exist_ok=True)
    (deploy.settings.edge_dir / "maintenance").touch()
    site.green_answers = (503, "", "")

    Swap().run(deploy)

    assert deploy.edge.live() is Color.GREEN


def run(deploy: Deploy) -> tuple[str, int, str]:
    record = begin(deploy.settings.state_dir)
    outcome = Runner(deploy, [Swap()], record, Heard()).run("main")
    assert outcome.error is not None
    return outcome.status, outcome.exit_code, outcome.error.traffic


MOVED_BACK = (
    "rolled back",
    3,
    "Traffic was moved back: blue serves release aaaaaaaaaaaa as before.",
)


@pytest.mark.django_db(transaction=True)
def test_moved_back_is_what_the_history_says(deploy: Deploy, site: Site) -> None:
    site.green_answers = (502, "", "")

    assert run(deploy) == MOVED_BACK


@pytest.mark.django_db(transaction=True)
def test_docker_that_does_not_answer_hides_not_that_traffic_was_moved_back(
    deploy: Deploy, site: Site, engine: EngineWithout
) -> None:
    def away() -> str:
        raise EngineAway("Docker does not answer.")

    engine.on_logs = away
    site.green_answers = (502, "", "")

    assert run(deploy) == MOVED_BACK


@pytest.mark.django_db(transaction=True)
def test_a_signal_hides_not_that_traffic_was_moved_back(
    deploy: Deploy, site: Site, engine: EngineWithout
) -> None:
    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    engine.on_logs = interrupted
    site.green_answers = (502, "", "")

    assert run(deploy) == MOVED_BACK
