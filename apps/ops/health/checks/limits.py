"""How long a check waits for whatever it asks: less than OPS_HEALTH_SECONDS, so that it still says
what it was that did not answer."""

from __future__ import annotations

SECONDS = 2.0
