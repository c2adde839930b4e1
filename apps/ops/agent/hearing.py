"""Whether an engine can still answer at the socket that this container was started with.

A container is given the socket itself, not its name. An engine that is started anew makes another
one, and a container that outlived the old engine (`live-restore`) never hears of it.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from apps.ops.stack import engine_socket

DEAF_SECONDS = 60.0


class Hearing:
    """Asked every now and then; it never waits long.

    Args:
        seconds: so long nobody must have answered.
    """

    def __init__(self, path: Path | None, *, seconds: float = DEAF_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._since: float | None = None

    def is_lost(self) -> bool:
        """Whether nobody has answered for a while, and nobody ever will."""
        if self._path is None or not _is_dead(self._path):
            self._since = None
            return False
        now = monotonic()
        if self._since is None:
            self._since = now
        return now - self._since >= self._seconds


def _is_dead(path: Path) -> bool:
    """Whether it was taken out of its directory, and nobody listens. One that is still in there is
    an engine's that is down, and that may listen to it again."""
    try:
        return path.stat().st_nlink == 0 and engine_socket.is_silent(path)
    except OSError:
        return False
