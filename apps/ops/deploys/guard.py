"""The one rule before anything is stopped: look again at who gets the traffic."""

from __future__ import annotations

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.errors import StepFailed


def require_idle(deploy: Deploy, color: Color) -> None:
    """Raises StepFailed when Caddy routes to this colour at this moment."""
    if deploy.edge.live() is color:
        raise StepFailed(
            f"{color} gets the traffic now, so {color.service} is not touched.",
            next="manage.py status   # who moved it? then deploy again",
        )
