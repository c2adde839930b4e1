"""Postgres, Redis or Caddy is restarted in the middle of a deployment: what it had to carry itself
fails for as long, one colour serves all the same, and the deployment comes to a clean end."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import pytest

from tests.e2e.conftest import RATE
from tests.e2e.test_migrations import deploy_watched, migrate
from tests.rig.load import Request, Traffic, visitors
from tests.rig.stack import Result, ScratchStack, run

HUNG_SECONDS = 60.0
# Long enough for the restart to fall into it. How fast the release answers is not asked: it differs
# on a busy machine.
BAKE = ("-e", "OPS_BAKE_SECONDS=8", "-e", "OPS_BAKE_SLOWER_FACTOR=1000")


class Restart:
    """Restarts a service when a step begins; `begun` and `back` are Unix seconds: from its SIGTERM
    until it answers again."""

    def __init__(self, stack: ScratchStack, service: str, step: str) -> None:
        self._stack, self.service, self.step = stack, service, step
        self.begun = self.back = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if (event["event"], event.get("step")) != ("step_started", self.step) or self.begun:
            return
        self.begun = time()
        run(["docker", "restart", f"{self._stack.project}-{self.service}-1"], seconds=HUNG_SECONDS)
        deadline = monotonic() + HUNG_SECONDS
        while not self._answers():
            assert monotonic() < deadline, f"{self.service} did not come back"
            sleep(0.05)
        self.back = time()

    def _answers(self) -> bool:
        match self.service:
            case "postgres":
                asked = ("pg_isready", "--quiet", "--host", "127.0.0.1")
            case "redis":
                asked = ("redis-cli", "ping")
            case _:
                return _front_page(self._stack.port) == 200
        return self._stack.compose("exec", "-T", self.service, *asked, check=False).code == 0


@pytest.mark.parametrize(
    ("at_build", "at_bake"),
    [
        ("postgres", "redis"),
        ("redis", "caddy"),
        pytest.param("caddy", "postgres", marks=pytest.mark.more),
    ],
)
def test_restarts_in_a_deployment_cost_no_more_than_the_restarts(
    stack: ScratchStack, at_build: str, at_bake: str
) -> None:
    before = stack.status()
    assert before["problems"] == []

    def change(project: Path) -> None:
        # It has no way back: the database is backed up before it.
        migrate(project, f"while_{at_build}", "RunPython(migrations.RunPython.noop)")

    sha = stack.commit(f"While {at_build} and {at_bake} restart", change)
    restarts = [Restart(stack, at_build, "build"), Restart(stack, at_bake, "bake")]

    def watch(event: dict[str, Any]) -> None:
        for restart in restarts:
            restart(event)

    with visitors(stack.port, rate=RATE, slow_rate=1.0) as traffic:
        result = deploy_watched(stack, watch, options=BAKE)

    lost = traffic.failed
    for r in restarts:
        print(f"{r.service} at {r.step}: away for {r.back - r.begun:.1f} s")
        assert r.back, result.output
    print(f"{len(lost)} of {len(traffic.requests)} requests failed, exit code {result.code}")
    carrying = [r for r in restarts if r.service != "redis"]
    late = [x for x in lost if not any(x.begun <= r.back and x.ended >= r.begun for r in carrying)]
    assert not late, [(x.begun - restarts[0].begun, x.error) for x in late]
    assert_one_color_served(result, traffic, before["live"])

    now = stack.status()
    assert (now["deploying"], now["problems"]) == (None, [])
    row, served = now["deployments"][0], now["front_door"]["release"]
    assert row["id"] > before["deployments"][0]["id"]
    assert result.code in (0, 6), result.output
    assert (row["status"], row["exit_code"], served) == ("succeeded", result.code, sha)


def assert_one_color_served(result: Result, traffic: Traffic, old: str) -> None:
    """The old colour until the swap, the new one after it, and nobody else."""
    answered = [request for request in traffic.requests if not request.error]
    moved = result.event("ended")["swapped_at"]
    swapped = datetime.fromisoformat(moved).timestamp() if moved else float("inf")
    new = {"blue": "green", "green": "blue"}[old]

    def wrong(request: Request) -> bool:
        # The moment that is noted is a little after the one that counts.
        return (request.ended < swapped - 1 and request.color != old) or (
            request.begun > swapped and request.color != new
        )

    assert not [r for r in answered if wrong(r)]


def _front_page(port: int) -> int:
    connection = HTTPConnection("localhost", port, timeout=HUNG_SECONDS)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().status
    return 0
