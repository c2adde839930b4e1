"""Waiting until a colour that gets no traffic any more has answered what it had."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic, sleep

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.edge.inflight import in_flight

# A request can have been routed, and not been counted yet, for an instant after the swap: nothing
# in flight is believed when it was seen this often, this far apart.
ZEROS = 3
LOOK_SECONDS = 0.05


def drain(deploy: Deploy, color: Color) -> str:
    """Wait for a colour's requests in flight, for `drain_seconds` at the most, and say what came of
    it. Not drained is a warning of the deployment's, not an error."""
    if deploy.nobody_served:
        return "had nobody to answer"
    seconds = deploy.settings.drain_seconds
    begun = monotonic()
    zeros = 0
    count: int | None = None
    while monotonic() - begun < seconds:
        count = in_flight(deploy.settings.caddy_admin, color)
        zeros = zeros + 1 if count == 0 else 0
        if zeros == ZEROS:
            deploy.drained_at = datetime.now(UTC)
            return f"drained in {monotonic() - begun:.1f} s"
        sleep(LOOK_SECONDS)
    left = "Caddy does not tell how many" if count is None else f"{count}"
    deploy.warnings.append(
        f"{color} still had requests in flight after {seconds:g} s ({left}): raise "
        "OPS_DRAIN_SECONDS if they are ordinary. Next: manage.py status"
    )
    return f"not drained after {seconds:g} s"
