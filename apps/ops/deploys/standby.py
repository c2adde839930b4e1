"""The standby gives way. Nobody is served by it, so it stops while the new release is checked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.guard import require_idle
from apps.ops.edge.inflight import in_flight

# A standby that answers nothing still lingers on the connections that Caddy keeps open to it.
# Nobody waits for that.
IDLE_GRACE_SECONDS = 1


@contextmanager
def giving_way(deploy: Deploy, *, step: str) -> Iterator[None]:
    """Let the standby stop meanwhile; it has stopped when this ends.

    Args:
        step: whose intention has the container, for `put_back`.
    """
    service = deploy.plan.candidate.service
    standby = deploy.engine.service(service)
    if standby is None or not standby.running:
        yield
        return
    require_idle(deploy, deploy.plan.candidate)
    deploy.intend(step, standby=standby.container)
    with ThreadPoolExecutor(max_workers=1) as beside:
        stopping = beside.submit(deploy.engine.stop, service, seconds=grace(deploy))
        yield
    stopping.result()


def put_back(deploy: Deploy, *, step: str) -> None:
    """Start the standby again, unless something else has taken its place."""
    if container := (deploy.intended(step) or {}).get("standby"):
        # Told to stop by a process that was killed, it may stop only later.
        deploy.engine.restart(container, seconds=IDLE_GRACE_SECONDS)


def grace(deploy: Deploy) -> int:
    """Seconds for the standby to stop in."""
    if in_flight(deploy.settings.caddy_admin, deploy.plan.candidate) == 0:
        return IDLE_GRACE_SECONDS
    return deploy.settings.web_stop_grace_seconds
