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
from tests.e2e.test_migrations import deploy_watched, errors_of, migrate
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
        self._stack, self._service, self._step = stack, service, step
        self.begun = self.back = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if (event["event"], event.get("step")) != ("step_started", self._step) or self.begun:
            return
        self.begun = time()
        run(["docker", "restart", f"{self._stack.project}-{self._service}-1"], seconds=HUNG_SECONDS)
        deadline = monotonic() + HUNG_SECONDS
        while not self._answers():
            assert monotonic() < deadline, f"{self._service} did not come back"
            sleep(0.05)
        self.back = time()

    def _answers(self) -> bool:
        match self._service:
            case "postgres":
                asked = ("pg_isready", "--quiet", "--host", "127.0.0.1")
            case "redis":
                asked = ("redis-cli", "ping")
            case _:
                return _front_page(self._stack.port) == 200
        return self._stack.compose("exec", "-T", self._service, *asked, check=False).code == 0


@pytest.mark.parametrize("step", ["build", "bake"])
@pytest.mark.parametrize("service", ["postgres", "redis", "caddy"])
def test_a_restart_in_a_deployment_costs_no_more_than_the_restart(
    stack: ScratchStack, service: str, step: str
) -> None:
    before = stack.status()
    assert before["problems"] == []

    def change(project: Path) -> None:
        if step == "build":
            # It has no way back: the database is backed up before it.
            migrate(project, f"while_{service}", "RunPython(migrations.RunPython.noop)")

    sha = stack.commit(f"While {service} restarts at {step}", change)
    restart = Restart(stack, service, step)

    with visitors(stack.port, rate=RATE, slow_rate=1.0) as traffic:
        result = deploy_watched(stack, restart, options=BAKE if step == "bake" else ())

    lost = traffic.failed
    print(
        f"{service} at {step}: away for {restart.back - restart.begun:.1f} s, {len(lost)} of "
        f"{len(traffic.requests)} requests failed, exit code {result.code}"
    )
    assert restart.back, result.output
    if service == "redis":
        assert not lost, errors_of(traffic)
    late = [r for r in lost if r.begun > restart.back or r.ended < restart.begun]
    assert not late, [(r.begun - restart.back, r.error) for r in late]
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
