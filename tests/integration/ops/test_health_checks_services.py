"""What the checks say about Docker and its containers, with the real engine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time
from typing import Any

import pytest
from docker.errors import NotFound
from docker.models.containers import Container

import docker
from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deploys.lock import deploy_lock
from apps.ops.edge.files import Edge
from apps.ops.health.checks import ALL, engine, services, standby
from apps.ops.health.result import Status
from apps.ops.stack.engine import Engine
from tests.conftest import OpsSettingsFactory
from tests.servers import wait_until

IMAGE = "python:3.13-slim-trixie"
HEALTHY = {"test": ["CMD", "true"], "interval": 200_000_000}
UNHEALTHY = {"test": ["CMD", "false"], "interval": 200_000_000, "retries": 1}

Start = Callable[..., Container]


@pytest.fixture
def stack(ops_settings: OpsSettingsFactory) -> OpsSettings:
    return ops_settings(project=f"h-checks-{secrets.token_hex(4)}")


@pytest.fixture
def start(stack: OpsSettings) -> Iterator[Start]:
    """Runs a shell line as a service of the project, until the test has ended."""
    client, started = docker.from_env(), list[Container]()

    def run(service: str, script: str = "sleep 600", **options: Any) -> Container:
        compose = {"project": stack.project, "service": service, "oneoff": "False"}
        container = client.containers.run(
            IMAGE,
            entrypoint=["sh", "-c", script],
            init=True,
            detach=True,
            labels={f"com.docker.compose.{name}": value for name, value in compose.items()},
            **options,
        )
        started.append(container)
        return container

    yield run
    for container in started:
        with suppress(NotFound):
            container.remove(force=True)
    client.close()


def wait_for(stack: OpsSettings, name: str, **expected: object) -> None:
    def there() -> bool:
        service = Engine(stack.project).service(name)
        return all(getattr(service, field) == value for field, value in expected.items())

    wait_until(there)


def test_docker_that_answers_says_its_version(stack: OpsSettings) -> None:
    result = engine.look(stack)

    assert result.status is Status.GOOD
    assert result.figures["version"] in result.summary


def test_a_service_that_runs_is_good(stack: OpsSettings, start: Start) -> None:
    start("redis", healthcheck=HEALTHY, mem_limit="64m")
    wait_for(stack, "redis", health="healthy")

    result = services.look(stack, "redis")

    assert result.status is Status.GOOD
    assert result.summary == "redis runs, healthy."
    assert result.figures["memory_limit_mb"] == 67


def test_a_service_that_is_not_there_is_bad(stack: OpsSettings) -> None:
    result = services.look(stack, "redis")

    assert result.status is Status.BAD
    assert result.next == "docker compose up --detach --no-deps --no-build --no-recreate redis"


def test_a_service_that_ended_is_bad_and_says_how(stack: OpsSettings, start: Start) -> None:
    start("redis", "exit 3").wait(timeout=30)

    assert "(exited, exit code 3)" in services.look(stack, "redis").summary


def test_what_a_running_deployment_recreates_is_no_incident(stack: OpsSettings) -> None:
    by_name = {check.name: check for check in ALL}
    stack.state_dir.mkdir(exist_ok=True)
    with deploy_lock(stack.state_dir, holder="ada deploys main"):
        worker, live = (by_name[f"service-{n}"].look(stack) for n in ("django-q", "django-a"))

    assert worker.status is Status.UNKNOWN
    assert worker.summary == "A deployment runs, and may be at it: django-q is not there."
    assert live.status is Status.BAD, "what is live is never recreated"
    assert by_name["service-django-q"].look(stack).status is Status.BAD


def test_an_unhealthy_service_is_bad(stack: OpsSettings, start: Start) -> None:
    start("redis", healthcheck=UNHEALTHY)
    wait_for(stack, "redis", health="unhealthy")

    result = services.look(stack, "redis")

    assert result.status is Status.BAD
    assert result.next == "docker compose logs --tail 50 redis"


def test_a_paused_service_is_bad(stack: OpsSettings, start: Start) -> None:
    container = start("redis")
    container.pause()
    try:
        assert services.look(stack, "redis").summary == "redis is paused."
    finally:
        container.unpause()


def test_a_service_that_fell_over_lately_is_bad(stack: OpsSettings, start: Start) -> None:
    """Between two falls it runs: Docker waits ever longer before it starts it again."""
    once = "test -e /there && sleep 600; touch /there; exit 1"
    start("redis", once, restart_policy={"Name": "always"})
    wait_for(stack, "redis", restarts=1, status="running")

    result = services.look(stack, "redis")

    assert result.status is Status.BAD
    assert "fell over and was restarted" in result.summary
    assert result.figures["restarts"] == 1


def test_a_service_that_fell_over_long_ago_has_recovered(
    stack: OpsSettings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = "test -e /there && sleep 600; touch /there; exit 1"
    start("redis", once, restart_policy={"Name": "always"})
    wait_for(stack, "redis", restarts=1, status="running")
    monkeypatch.setattr(services, "RESTART_SECONDS", 0)

    assert services.look(stack, "redis").status is Status.GOOD


def test_a_service_that_ran_out_of_memory_is_bad(stack: OpsSettings, start: Start) -> None:
    eats = "exec python3 -c 'x = bytearray(200_000_000)'"
    start("redis", eats, mem_limit="32m", memswap_limit="32m").wait(timeout=30)

    result = services.look(stack, "redis")

    assert result.status is Status.BAD
    assert "for lack of memory" in result.summary
    assert "raise its memory" in result.next


def test_the_live_colour_must_run(stack: OpsSettings, start: Start) -> None:
    start("django-a", "exit 0").wait(timeout=30)

    result = services.look_at_color(stack, Color.BLUE)

    assert result.status is Status.BAD
    assert result.summary.startswith("django-a (blue, live) does not run")


def test_the_idle_colour_may_be_stopped_or_not_be_there(stack: OpsSettings, start: Start) -> None:
    absent = services.look_at_color(stack, Color.GREEN)
    start("django-b", "exit 0").wait(timeout=30)
    stopped = services.look_at_color(stack, Color.GREEN)

    assert [absent.status, stopped.status] == [Status.GOOD, Status.GOOD]
    assert "is stopped" in stopped.summary


def test_the_idle_colour_must_not_be_unhealthy(stack: OpsSettings, start: Start) -> None:
    start("django-b", healthcheck=UNHEALTHY)
    wait_for(stack, "django-b", health="unhealthy")

    assert services.look_at_color(stack, Color.GREEN).status is Status.BAD


def test_which_colour_is_live_is_the_edges_to_say(stack: OpsSettings, start: Start) -> None:
    Edge(stack.edge_dir).point_to(Color.GREEN)

    assert services.look_at_color(stack, Color.GREEN).status is Status.BAD
    assert services.look_at_color(stack, Color.BLUE).status is Status.GOOD


def test_the_agents_heart_must_beat(stack: OpsSettings, start: Start) -> None:
    start("utility")
    wait_for(stack, "utility", status="running")
    none = services.look_at_agent(stack, "utility")
    heartbeat = stack.state_dir / "agent" / "heartbeat"
    heartbeat.parent.mkdir(parents=True)
    heartbeat.touch()
    beats = services.look_at_agent(stack, "utility")
    os.utime(heartbeat, (time() - 90, time() - 90))
    stopped = services.look_at_agent(stack, "utility")

    assert [none.status, beats.status, stopped.status] == [Status.BAD, Status.GOOD, Status.BAD]
    assert "has no heartbeat" in none.summary
    assert "last heartbeat was 90 s ago" in stopped.summary


READY = """
exec python3 -c '
from http.server import *
class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS)
        self.send_header("X-Release", "c" * 40)
        self.end_headers()
HTTPServer(("", 8000), Ready).serve_forever()'
"""


@pytest.mark.parametrize(("answer", "status"), [(200, Status.GOOD), (503, Status.BAD)])
def test_the_standby_must_be_ready(
    stack: OpsSettings, start: Start, answer: int, status: Status
) -> None:
    start("django-b", READY.replace("STATUS", str(answer)))
    said = {200: "stands by, release cccccccccccc.", 503: "stands by and answers 503"}[answer]

    wait_until(lambda: said in standby.look(stack).summary)

    assert standby.look(stack).status is status


def test_a_standby_that_does_not_answer_is_bad(stack: OpsSettings, start: Start) -> None:
    start("django-b")
    wait_for(stack, "django-b", status="running")

    assert "gives no answer" in standby.look(stack).summary


def test_a_standby_that_starts_is_given_its_time(stack: OpsSettings, start: Start) -> None:
    start("django-b", healthcheck={**HEALTHY, "interval": 600_000_000_000})
    wait_for(stack, "django-b", status="running", health="starting")

    assert standby.look(stack).summary == "green is starting."


def test_without_a_standby_there_is_nothing_to_ask(stack: OpsSettings) -> None:
    assert standby.look(stack).status is Status.GOOD


VERSION = b'{"ApiVersion": "1.43", "Version": "27.0"}'


class _Nonsense(BaseHTTPRequestHandler):
    version = b""
    other = b""

    def do_GET(self) -> None:
        body = self.version if self.path.endswith("/version") else self.other
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def engine_that_says(monkeypatch: pytest.MonkeyPatch, **answers: bytes) -> Iterator[None]:
    handler = type("Handler", (_Nonsense,), answers)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.mark.parametrize("body", [b"", b"hello", b"{}", b"[]", b'{"ApiVersion": "1.43"}'])
def test_an_engine_whose_version_is_nonsense_is_bad(
    stack: OpsSettings, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with engine_that_says(monkeypatch, version=body):
        result = engine.look(stack)

    assert result.status is Status.BAD
    assert "Docker does not answer" in result.summary


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"[{}]", b'["a"]'])
def test_an_engine_whose_containers_are_nonsense_tells_nothing_of_a_service(
    stack: OpsSettings, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with engine_that_says(monkeypatch, version=VERSION, other=body):
        results = [services.look(stack, "redis"), standby.look(stack)]

    assert {result.status for result in results} == {Status.UNKNOWN}


def test_an_engine_that_is_gone_is_bad(
    stack: OpsSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")

    assert engine.look(stack).status is Status.BAD
    assert services.look_at_color(stack, Color.BLUE).status is Status.UNKNOWN
    assert services.look_at_agent(stack, "utility").status is Status.UNKNOWN
    assert standby.look(stack).status is Status.UNKNOWN
