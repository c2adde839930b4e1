"""What a check said before: from Postgres, or what the state file knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.ops.health.state import Change, Known
from apps.ops.health.uptime import Uptime, uptime, uptimes
from apps.ops.models import Check, Flip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHistory:
    """A check, its uptime and its flips, the newest first."""

    name: str
    status: str
    summary: str
    next: str
    since: datetime
    last_seen: datetime
    uptime: Uptime
    flips: Sequence[Change]


def from_postgres(*, days: float, now: datetime) -> list[CheckHistory]:
    """Of each check.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    checks = list(Check.objects.order_by("name"))
    times = uptimes(checks, days=days, now=now)
    flips: dict[int, list[Change]] = {check.pk: [] for check in checks}
    rows = Flip.objects.filter(check_of__in=checks, at__gte=now - timedelta(days=days))
    columns = ("check_of_id", "was", "status", "at", "summary")
    for number, was, status, at, summary in rows.order_by("-at", "-id").values_list(*columns):
        flips[number].append(Change(was, status, at, summary))
    return [
        CheckHistory(
            name=check.name,
            status=check.status,
            summary=check.summary,
            next=check.next,
            since=check.since,
            last_seen=check.last_seen,
            uptime=times[check.pk],
            flips=flips[check.pk],
        )
        for check in checks
    ]


def from_state(known: Mapping[str, Known], *, days: float, now: datetime) -> list[CheckHistory]:
    """Of each check, as far as Postgres does not have to be asked: its status now, and the flips
    that Postgres does not have yet."""
    start = now - timedelta(days=days)
    found = []
    for name, check in sorted(known.items()):
        steps = [(c.at, c.status) for c in check.pending] or [(check.since, check.status)]
        found.append(
            CheckHistory(
                name=name,
                status=check.status,
                summary=check.summary,
                next=check.next,
                since=check.since,
                last_seen=check.last_seen,
                uptime=uptime(steps, start=start, last_seen=check.last_seen, now=now),
                flips=[c for c in reversed(check.pending) if c.at >= start],
            )
        )
    return found
