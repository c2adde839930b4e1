"""Brings Postgres up to date: a row for each check, and one for each change of its status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from apps.ops.conf import OpsSettings
from apps.ops.health.result import Status
from apps.ops.health.state import Known
from apps.ops.models import Check, Flip

STATEMENT_SECONDS = 2
# A check that was not seen for so long is there no more: it goes, with its changes.
KEEP = timedelta(days=90)


def project(known: Mapping[str, Known], settings: OpsSettings) -> None:
    """Write what is known; what is there already is not written twice.

    Raises:
        DatabaseError: Postgres does not answer as it should; it has all of this or nothing.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
        Check.objects.bulk_create(
            [_row(name, known[name]) for name in sorted(known)],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["status", "summary", "next", "figures", "since", "last_seen", "told"],
        )
        numbers = dict(Check.objects.filter(name__in=known).values_list("name", "pk"))
        for name, check in known.items():
            if check.pending:
                _add_flips(numbers[name], check)
                _prune(numbers[name], settings.health_flips)
        unseen = Check.objects.filter(last_seen__lt=datetime.now(UTC) - KEEP)
        unseen.exclude(name__in=known).delete()


def _row(name: str, known: Known) -> Check:
    told = set(known.told.values())
    return Check(
        name=name,
        status=known.status,
        summary=known.summary,
        next=known.next,
        figures=known.figures,
        since=known.since,
        first_seen=known.first_seen,
        last_seen=known.last_seen,
        told=next((status for status in (Status.BAD, Status.GOOD) if status in told), ""),
    )


def _add_flips(check: int, known: Known) -> None:
    first = min(change.at for change in known.pending)
    there = set(Flip.objects.filter(check_of=check, at__gte=first).values_list("at", "status"))
    Flip.objects.bulk_create(
        Flip(check_of_id=check, was=c.was, status=c.status, at=c.at, summary=c.summary)
        for c in known.pending
        if c.key not in there
    )


def _prune(check: int, keep: int) -> None:
    old = Flip.objects.filter(check_of=check).order_by("-at", "-id").values_list("pk", flat=True)
    if numbers := list(old[keep:]):
        Flip.objects.filter(pk__in=numbers).delete()
