"""Whether this process got the processor when it wanted it: on a busy machine a time-out says
nothing about who was asked."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# Of a round of two seconds and a half.
STARVED_SECONDS = 0.5


class Starvation:
    """From its making on."""

    def __init__(self) -> None:
        self._before = _waited()

    def is_felt(self) -> bool:
        """Whether a thread waited for so long, ready to run."""
        return any(
            waited - self._before.get(thread, 0.0) >= STARVED_SECONDS
            for thread, waited in _waited().items()
        )


def _waited() -> dict[str, float]:
    """For how many seconds each thread has waited for a processor; nothing where the kernel does
    not count it."""
    found = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        # A thread can end meanwhile. https://docs.kernel.org/scheduler/sched-stats.html
        with suppress(OSError, ValueError, IndexError):
            found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return found
