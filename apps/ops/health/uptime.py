"""For how long a check was good, bad, or not known, from its flips."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.ops.health.result import Status
from apps.ops.health.state import GAP
from apps.ops.models import Check, Flip

Step = tuple[datetime, str]
"""When a status began, and which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """Seconds in each status, of the time that flips are known of, which begins at `since`."""

    since: datetime
    good: float = 0.0
    bad: float = 0.0
    unknown: float = 0.0

    @property
    def percent(self) -> float | None:
        """The good share of the time in which it was known; None when that is none."""
        measured = self.good + self.bad
        return 100 - 100 * self.bad / measured if measured else None

    @property
    def in_words(self) -> str:
        """Never rounded up to 100: then nothing was bad."""
        if self.percent is None:
            return "not known"
        return "100 %" if self.percent == 100 else f"{min(self.percent, 99.999):.3f} %"


def uptime(steps: Iterable[Step], *, start: datetime, last_seen: datetime, now: datetime) -> Uptime:
    """The time from `start` to `now`.

    Args:
        steps: the flips since `start`, and the last one before it, in any order.
        last_seen: the check's last result. Long ago, the time since then is not known.
    """
    ordered = sorted(steps, key=lambda step: step[0])
    if not ordered:
        return Uptime(since=now)
    if now - last_seen > GAP:
        ordered.append((max(last_seen, ordered[-1][0]), Status.UNKNOWN))
    begun = min(max(ordered[0][0], start), now)
    seconds = dict.fromkeys(Status.values, 0.0)
    ends = [*(at for at, _ in ordered[1:]), now]
    for (at, status), end in zip(ordered, ends, strict=True):
        length = (min(end, now) - max(at, start)).total_seconds()
        seconds[status] += max(length, 0.0)
    return Uptime(since=begun, good=seconds["good"], bad=seconds["bad"], unknown=seconds["unknown"])


def uptimes(checks: Collection[Check], *, days: float, now: datetime) -> dict[int, Uptime]:
    """The uptime of each check by its number, with two queries in all."""
    start = now - timedelta(days=days)
    flips = Flip.objects.filter(check_of__in=checks).values_list("check_of_id", "at", "status")
    before = (
        flips.filter(at__lt=start).order_by("check_of_id", "-at", "-id").distinct("check_of_id")
    )
    rows = [*before, *flips.filter(at__gte=start).order_by("at", "id")]
    steps: dict[int, list[Step]] = {check.pk: [] for check in checks}
    for number, at, status in rows:
        steps[number].append((at, status))
    return {
        check.pk: uptime(steps[check.pk], start=start, last_seen=check.last_seen, now=now)
        for check in checks
    }
