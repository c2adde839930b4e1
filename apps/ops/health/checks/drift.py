"""Do the services that a deployment leaves alone run as the checkout declares them?"""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good, unknown
from apps.ops.processes import ProgramFailed
from apps.ops.stack import drift
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine, EngineAway


def look(settings: OpsSettings) -> Result:
    files = tuple(settings.checkout / name for name in settings.compose_files)
    compose = Compose(settings.project, settings.checkout, files)
    try:
        found = drift.of_services(compose, Engine(settings.project, seconds=SECONDS))
    except EngineAway as error:
        return unknown(error.found, next=error.next)
    except ProgramFailed as error:
        return unknown(
            f"Compose does not read the checkout's files: {error.output or error.found}",
            next="docker compose config --quiet",
        )
    if not found:
        return good("Caddy, Postgres, Redis and media run as the checkout declares them.")
    name, differs = next(iter(found.items()))
    others = f" So do {' and '.join(list(found)[1:])}." if len(found) > 1 else ""
    return bad(
        f"{name} runs with other settings than the checkout's: {', '.join(differs)}. They count "
        f"when its container is created anew.{others}",
        next=drift.how_to_apply(name),
        services=len(found),
    )
