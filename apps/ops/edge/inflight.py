"""How many requests each colour is answering at this moment, as Caddy counts them."""

from __future__ import annotations

from pathlib import Path

from apps.ops.colors import Color
from apps.ops.edge.admin import Admin, CaddyAway, CaddyRefused


def in_flight(admin_socket: Path, color: Color) -> int | None:
    """Requests on their way to or from a colour; None when Caddy does not tell.

    Counted by Caddy for every upstream its configuration names, which is why both colours always
    stand in it: https://caddyserver.com/docs/api#get-reverse_proxyupstreams. Large uploads have an
    upstream of their own, of the same name with a dot after it.
    """
    try:
        counts = [
            int(upstream["num_requests"])
            for upstream in Admin(admin_socket).upstreams()
            if upstream["address"].partition(":")[0].rstrip(".") == color.service
        ]
    except (CaddyAway, CaddyRefused, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sum(counts) if counts else None
