"""What a deployment recreates is gone for a while, and no incident."""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.deploys.lock import held_by
from apps.ops.health.result import Look, Result, Status, unknown


def unless_deploying(look: Look) -> Look:
    """What is bad while a deployment or a recovery runs could not be measured: it may be at it."""

    def looked(settings: OpsSettings) -> Result:
        result = look(settings)
        if result.status != Status.BAD or not (holding := held_by(settings.state_dir)):
            return result
        return unknown(
            f"A {holding.what or 'deployment'} runs, and may be at it: {result.summary}",
            next="manage.py status",
        )

    return looked
