"""Is the candidate ready, and has it been without a break? Asked until the moment of the swap."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic

from apps.ops.edge.probe import Answer, ask

# Docker's own health check looks once in five seconds; a deploy would wait for it.
INTERVAL_SECONDS = 0.05
# Each question is a login at Postgres: once it is ready, that delays what else starts. When the
# calm is counted, the next answer is waited for.
READY_INTERVAL_SECONDS = 0.5
COUNTED_INTERVAL_SECONDS = 0.1
PROBE_SECONDS = 3.0
# At once, so that every worker process gets its share.
WARM_UP_REQUESTS = 8
WARM_UP_ROUNDS = 2


class Watch:
    """Asks one path of one address over and over, in a thread, until it is stopped."""

    def __init__(self, address: str, *, host: str, path: str = "/health/ready") -> None:
        self._path = path
        self.last = Answer(0, reason="not asked yet")
        self.ready_at: datetime | None = None
        self._address = address
        self._host = host
        self._warm_up: list[str] = []
        self._ready_since: float | None = None
        self._ready_last = 0.0
        self._counted = False
        self._stopped = False
        self._wake = Event()
        Thread(target=self._run, daemon=True, name="watch").start()

    @property
    def ready_seconds(self) -> float:
        """From the first to the last of answers that were all 200; 0 when the last one was not.

        An answer that is still waited for counts for nothing.
        """
        since = self._ready_since
        return 0.0 if since is None else max(self._ready_last - since, 0.0)

    def count_anew(self, *, warm_up: Sequence[str]) -> None:
        """Let `ready_seconds` count from now on, and begin by asking for these paths a few times:
        templates are compiled and connections opened for us, and not for the first visitors."""
        if self._ready_since is not None:
            self._ready_since = monotonic()
        self._warm_up = [path for path in warm_up for _ in range(WARM_UP_ROUNDS)]
        self._counted = True
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        with ThreadPoolExecutor(max_workers=WARM_UP_REQUESTS) as pool:
            while not self._stopped:
                self._look()
                if self._warm_up:
                    list(pool.map(self._ask, [self._warm_up.pop()] * WARM_UP_REQUESTS))
                self._wake.wait(self._interval)
                self._wake.clear()

    @property
    def _interval(self) -> float:
        if self.ready_at is None:
            return INTERVAL_SECONDS
        return COUNTED_INTERVAL_SECONDS if self._counted else READY_INTERVAL_SECONDS

    def _look(self) -> None:
        asked = monotonic()
        answer = self._ask(self._path)
        self.last = answer
        if answer.status != 200:
            self._ready_since = None
            return
        self._ready_last = monotonic()
        if self._ready_since is None:
            self._ready_since = asked
            self.ready_at = self.ready_at or datetime.now(UTC)

    def _ask(self, path: str) -> Answer:
        return ask(self._address, path, host=self._host, seconds=PROBE_SECONDS)
