"""Is the new colour worse than the old one was just before? Figures in, a sentence out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from apps.ops.deploys.bake.access_log import Entry

WINDOW_SECONDS = 5.0
# A single error in a quiet minute is a large share.
MIN_ERRORS = 3
# What fails for a moment only (Postgres is restarted) is not the release's fault; who fails its
# visitors goes on failing them.
LASTING_SECONDS = 2.0
# The first requests after a swap fill caches: their time says nothing about the release.
WARM_UP_SECONDS = 5.0
# Three times 5 ms is nothing that a visitor notices.
SLOWER_SECONDS = 0.25
MIN_TIMED = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """`error_points` are percentage points, `slower_factor` multiplies the old time."""

    min_requests: int
    error_points: float
    slower_factor: float


@dataclass(frozen=True, slots=True)
class Figures:
    requests: int
    errors: int
    p90_seconds: float

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Figures:
        times = sorted(entry.seconds for entry in entries)
        p90 = times[math.ceil(0.9 * len(times)) - 1] if times else 0.0
        return cls(len(entries), sum(entry.is_error for entry in entries), p90)

    @property
    def error_percent(self) -> float:
        return 100 * self.errors / self.requests if self.requests else 0.0

    def as_json(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "errors": self.errors,
            "p90_ms": round(1000 * self.p90_seconds),
        }


@dataclass(frozen=True, slots=True)
class Span:
    """From, until: seconds since 1970."""

    begin: float
    end: float


def outside(entries: Sequence[Entry], spans: Sequence[Span]) -> list[Entry]:
    """The requests that were not in flight in any of the spans."""
    return [
        entry
        for entry in entries
        if not any(
            span.begin <= entry.ended_at and entry.ended_at - entry.seconds <= span.end
            for span in spans
        )
    ]


def worse(
    old: Sequence[Entry], new: Sequence[Entry], *, watched_since: float, now: float, limits: Limits
) -> str | None:
    """What is worse, a sentence with the figures; None when nothing is, or too little is known.

    Args:
        watched_since: the swap, or when it is watched anew: `new` begins then, with cold caches.
    """
    return _fails_more(old, new, now, limits) or _slower(old, new, watched_since, limits)


def _fails_more(
    old: Sequence[Entry], new: Sequence[Entry], now: float, limits: Limits
) -> str | None:
    before = Figures.of(old)
    lately = [entry for entry in new if entry.ended_at > now - WINDOW_SECONDS]
    for entries, when in ((lately, f"in the last {WINDOW_SECONDS:g} s"), (new, "since the swap")):
        found = Figures.of(entries)
        if found.requests < limits.min_requests or found.errors < MIN_ERRORS:
            continue
        if not _lasts([entry for entry in entries if entry.is_error]):
            continue
        if found.error_percent - before.error_percent > limits.error_points:
            return (
                f"{found.errors} of {found.requests} answers {when} were 5xx "
                f"({found.error_percent:.1f} %); before it was {before.errors} of "
                f"{before.requests} ({before.error_percent:.1f} %)."
            )
    return None


def _lasts(errors: Sequence[Entry]) -> bool:
    ended = [entry.ended_at for entry in errors]
    return max(ended) - min(ended) >= LASTING_SECONDS


def _slower(
    old: Sequence[Entry], new: Sequence[Entry], watched_since: float, limits: Limits
) -> str | None:
    warm = [e for e in new if e.ended_at - e.seconds >= watched_since + WARM_UP_SECONDS]
    before, found = Figures.of(old), Figures.of(warm)
    if min(before.requests, found.requests) < MIN_TIMED:
        return None
    if found.p90_seconds <= max(
        before.p90_seconds * limits.slower_factor, before.p90_seconds + SLOWER_SECONDS
    ):
        return None
    return (
        f"One in ten of {found.requests} answers took longer than {1000 * found.p90_seconds:.0f} "
        f"ms; before it was {1000 * before.p90_seconds:.0f} ms."
    )
