"""Each service of the stack, as Docker has it: is it there, does it run, is it well?"""

from __future__ import annotations

from datetime import UTC, datetime
from time import time

from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge
from apps.ops.health.checks.deploying import unless_deploying
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, Result, bad, good, unknown
from apps.ops.stack.engine import Engine, EngineAway
from apps.ops.stack.service import Service

# One that fell over longer ago than this has recovered.
RESTART_SECONDS = 600.0
# The agent touches its heartbeat every few seconds.
HEARTBEAT_SECONDS = 30.0  # As docker/healthcheck.py.


def look(settings: OpsSettings, name: str) -> Result:
    """A service that must run."""
    try:
        service = _read(settings, name)
    except EngineAway as error:
        return unknown(error.found, next=error.next)
    return _running(service, name)


def look_at_color(settings: OpsSettings, color: Color) -> Result:
    """The live colour must run; the idle one may be stopped or not be there."""
    try:
        service = _read(settings, color.service)
    except EngineAway as error:
        return unknown(error.found, next=error.next)
    # Asked last: a colour that was stopped after a swap meanwhile is not the live one.
    if Edge(settings.edge_dir).live() is color:
        return _running(service, color.service, f"{color.service} ({color}, live)")
    shown = f"{color.service} ({color}, idle)"
    if service is None:
        return good(f"{shown} is not there.")
    if service.status in ("exited", "created"):
        return good(f"{shown} is stopped.", status=service.status)
    return unless_deploying(lambda _: _running(service, color.service, shown))(settings)


def look_at_agent(settings: OpsSettings, name: str) -> Result:
    """The agent's container runs, and so does the agent in it."""
    result = look(settings, name)
    # Docker calls an agent that hangs unhealthy, and its heartbeat tells what that means.
    if result.status != result.status.GOOD and result.figures.get("health") != "unhealthy":
        return result
    heartbeat = settings.state_dir / "agent" / "heartbeat"
    try:
        age = max(time() - heartbeat.stat().st_mtime, 0)
    except OSError as error:
        return bad(
            f"{name} runs, and the agent in it has no heartbeat ({error.strerror}).",
            next=f"docker compose logs {name}",
            **result.figures,
        )
    figures: dict[str, Figure] = {**result.figures, "heartbeat_seconds": round(age, 1)}
    if age > HEARTBEAT_SECONDS:
        return bad(
            f"The agent's last heartbeat was {age:.0f} s ago: no cron job and no deployment that "
            "the admin asks for is started.",
            next=f"docker compose logs {name}   # then: docker compose restart {name}",
            **figures,
        )
    if result.status != result.status.GOOD:
        return result
    return good(f"{result.summary} The agent's heart beats.", **figures)


def _read(settings: OpsSettings, name: str) -> Service | None:
    return Engine(settings.project, seconds=SECONDS).service(name)


def _running(service: Service | None, name: str, shown: str = "") -> Result:
    shown = shown or name
    start = f"docker compose up --detach --no-deps --no-build --no-recreate {name}"
    logs = f"docker compose logs --tail 50 {name}"
    if service is None:
        return bad(f"{shown} is not there.", next=start)
    figures: dict[str, Figure] = {"status": service.status, "restarts": service.restarts}
    if service.health:
        figures["health"] = service.health
    if service.memory_limit:
        figures["memory_limit_mb"] = round(service.memory_limit / 1e6)
    age = _age(service)
    if service.oom_killed:
        return bad(
            f"The kernel ended a process of {shown} for lack of memory.",
            next=f"raise its memory in .env, then: {start}",
            **figures,
        )
    if service.status == "paused":
        return bad(f"{shown} is paused.", next=f"docker compose unpause {name}", **figures)
    if service.status == "restarting":
        return bad(f"{shown} falls over again and again.", next=logs, **figures)
    if not service.running:
        ended = f", exit code {service.exit_code}" if service.status == "exited" else ""
        return bad(f"{shown} does not run ({service.status}{ended}).", next=start, **figures)
    if service.health == "unhealthy":
        return bad(f"{shown} is unhealthy.", next=logs, **figures)
    if service.restarts and age < RESTART_SECONDS:
        return bad(
            f"{shown} fell over and was restarted {age:.0f} s ago ({service.restarts} "
            f"restart{'s' if service.restarts > 1 else ''} in all).",
            next=logs,
            **figures,
        )
    return good(f"{shown} runs{f', {service.health}' if service.health else ''}.", **figures)


def _age(service: Service) -> float:
    """Seconds since it was started."""
    try:
        started = datetime.fromisoformat(service.started_at)
    except ValueError:
        return float("inf")
    return max((datetime.now(UTC) - started).total_seconds(), 0)
