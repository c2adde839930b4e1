"""The colour without traffic: could it take over? Rolling back to it needs that it answers."""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge
from apps.ops.edge.probe import ask
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good, unknown
from apps.ops.stack.engine import Engine, EngineAway


def look(settings: OpsSettings) -> Result:
    color = Edge(settings.edge_dir).live().other
    try:
        service = Engine(settings.project, seconds=SECONDS).service(color.service)
    except EngineAway as error:
        return unknown(error.found, next=error.next)
    if service is None or not service.running:
        return good(f"{color} does not run: going back to it starts it first.")
    if service.health == "starting":
        return good(f"{color} is starting.", release=service.release[:12])
    answer = ask(
        f"{service.address}:8000", "/health/ready", host=settings.site_host, seconds=SECONDS
    )
    if answer.status != 200:
        said = f"answers {answer}" if answer.status else f"gives {answer}"
        return bad(
            f"{color} stands by and {said}. Visitors do not notice; a rollback to it "
            "would start it anew.",
            next=f"docker compose logs --tail 50 {color.service}",
            status=answer.status,
        )
    return good(f"{color} stands by, release {answer.release[:12]}.", release=answer.release[:12])
