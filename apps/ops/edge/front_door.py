"""Whether anybody is served at all: does Caddy answer?"""

from __future__ import annotations

from time import monotonic, sleep

from apps.ops.conf import OpsSettings
from apps.ops.edge.probe import ask

# A restart of Caddy takes less.
SECONDS = 5.0


def answers(settings: OpsSettings, *, seconds: float = SECONDS) -> bool:
    """Whether Caddy answers within `seconds`, whatever it says: its error page is an answer."""
    deadline = monotonic() + seconds
    while not ask(settings.probe_address, "/.edge", host=settings.site_host, seconds=1.0).status:
        if monotonic() > deadline:
            return False
        sleep(0.2)
    return True
