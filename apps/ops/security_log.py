"""The security log: who logged in, who was refused what, who asked for what. One line of JSON an
event, in the container's log, and a row for the admin."""

from __future__ import annotations

import json
import logging
from contextlib import suppress

from django.db import DatabaseError, transaction

from apps.ops.models import SecurityEvent
from apps.ops.requester import printable

logger = logging.getLogger("security")

Event = SecurityEvent.Event
_ALARMS = (Event.LOGIN_FAILED, Event.LOCKED_OUT, Event.REFUSED, Event.DENIED)
# Rows.
KEPT = 20_000


def record(
    event: Event, *, username: str = "", address: str = "", detail: str = "", row: bool = True
) -> None:
    """Log an event. That its row cannot be written stops nobody's work: the line is there.

    Args:
        row: whether the admin shows it, too.
    """
    fields = {
        "username": printable(username)[:150],
        "address": printable(address)[:45],
        "detail": printable(detail)[:300],
    }
    level = logging.WARNING if event in _ALARMS else logging.INFO
    line = {"event": event.value, **{key: value for key, value in fields.items() if value}}
    logger.log(level, "%s", json.dumps(line))
    if not row:
        return
    with suppress(DatabaseError), transaction.atomic():
        SecurityEvent.objects.create(event=event, **fields)


def prune() -> None:
    newest = SecurityEvent.objects.order_by("-id").values_list("pk", flat=True)
    if last := newest[KEPT : KEPT + 1].first():
        SecurityEvent.objects.filter(pk__lte=last).delete()
