"""Caddy's access log: one JSON object a line, with the colour that answered."""

from __future__ import annotations

import json
from dataclasses import dataclass

from apps.ops.colors import Color

# What deployments and checks call themselves: they are not visitors.
OUR_AGENT = "changeover"
# What Caddy writes down when nobody waited for the answer.
CLIENT_LEFT = (0, 499)


@dataclass(frozen=True, slots=True)
class Entry:
    """A visitor's request that a colour answered, or that Caddy had to answer for it.

    `ended_at` is in seconds since 1970, `seconds` is how long it took.
    """

    ended_at: float
    color: Color
    status: int
    seconds: float

    @property
    def is_error(self) -> bool:
        return self.status >= 500


def parse(line: bytes) -> Entry | None:
    """None for what is not a visitor's request to a colour: other lines, files, the maintenance
    page, our own probes, uploads beyond those that a colour takes at a time, what a client broke
    off or sent as no HTTP, or half a line."""
    if b"http.log.access" not in line or b'"color"' not in line:
        return None
    try:
        said = json.loads(line)
        agents = said["request"].get("headers", {}).get("User-Agent", [])
        if OUR_AGENT in agents or ("place" in said and not said["place"]):
            return None
        status = int(said["status"])
        # Caddy says itself what has an error; below 500, of the client.
        if status in CLIENT_LEFT or ("error" in said and status < 500):
            return None
        return Entry(float(said["ts"]), Color(said["color"]), status, float(said["duration"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
