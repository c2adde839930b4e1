"""Does Caddy run what the checkout declares?"""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.edge import follow
from apps.ops.edge.admin import CaddyAway, CaddyRefused
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good, unknown
from apps.ops.stack.engine import Engine


def look(settings: OpsSettings) -> Result:
    try:
        state = follow.state(settings, Engine(settings.project, seconds=SECONDS))
    except CaddyRefused as error:
        return bad(
            f"Caddy would not start with the Caddyfile of the checkout: {error}.",
            next="docker compose exec caddy caddy validate --config /etc/caddy/Caddyfile",
        )
    except (CaddyAway, OSError) as error:
        return unknown(
            f"Caddy does not say what it runs ({error}).", next="docker compose ps --all caddy"
        )
    if state.outdated:
        return bad(
            "Caddy runs another Caddyfile than the checkout's: what a release changed in it does "
            "not count yet.",
            next="manage.py edge",
        )
    if state.as_root:
        return bad(
            "Caddy runs as root with the uploads in reach, as an older release created it. "
            "Creating it anew costs visitors some seconds.",
            next=follow.RECREATE,
        )
    return good("Caddy runs what the checkout declares.")
