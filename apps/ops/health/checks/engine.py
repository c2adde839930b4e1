"""Docker's engine: does it answer?"""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good
from apps.ops.stack.engine import Engine, EngineAway


def look(settings: OpsSettings) -> Result:
    try:
        version = Engine(settings.project, seconds=SECONDS).version()
    except EngineAway as error:
        return bad(error.found, next=error.next)
    return good(f"Docker {version} answers.", version=version)
