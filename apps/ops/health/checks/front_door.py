"""What visitors get: who answers through Caddy, and is it the colour that the edge says?"""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge, Maintenance
from apps.ops.edge.probe import Answer, ask
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good


def look(settings: OpsSettings) -> Result:
    edge = Edge(settings.edge_dir)
    before = edge.live()
    answer = ask(settings.probe_address, "/health/ready", host=settings.site_host, seconds=SECONDS)
    # A swap between the question and the answer is nobody's fault.
    live = edge.live()
    if maintenance := edge.maintenance():
        return _in_maintenance(maintenance, answer)
    if answer.status != 200:
        # Caddy's own answer names no release; a colour's does, and then it is the colour's trouble.
        said = live.service if answer.release else "caddy"
        return bad(
            f"The front door {_says(answer)}.",
            next=f"docker compose logs --tail 50 {said}",
            status=answer.status,
        )
    if answer.color not in (before, live):
        return bad(
            f"The edge says {live}, and {answer.color or 'somebody else'} answers at the front "
            "door.",
            next="manage.py status",
            status=200,
        )
    release = answer.release[:12]
    named = f", release {release}" if release else ""
    return good(f"{answer.color} answers{named}.", color=answer.color, release=release)


def _in_maintenance(maintenance: Maintenance, answer: Answer) -> Result:
    """The page was asked for: it is bad when visitors get something else."""
    if answer.status != 503:
        return bad(
            f"The maintenance page is up, and the front door {_says(answer)}.",
            next="docker compose logs --tail 50 caddy",
            status=answer.status,
        )
    by = f" by {maintenance.by}" if maintenance.by else ""
    why = f" ({maintenance.reason})" if maintenance.reason else ""
    return good(
        f"The maintenance page is up since {maintenance.since:%Y-%m-%d %H:%M} UTC{by}{why}.",
        maintenance=maintenance.since.isoformat(timespec="seconds"),
    )


def _says(answer: Answer) -> str:
    return f"answers {answer}" if answer.status else f"gives {answer}"
