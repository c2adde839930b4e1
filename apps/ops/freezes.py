"""A frozen project refuses deployments: who wants that, why, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from apps.ops import postgres
from apps.ops.errors import Frozen, Refused
from apps.ops.models import Freeze

MAX_REASON = 200
LONGEST = timedelta(days=3650)


def in_force() -> Freeze | None:
    """The freeze that is neither lifted nor past its end.

    Raises (as `freeze` and `unfreeze`, too):
        DatabaseError: Postgres does not answer.
    """
    not_past = Q(until__isnull=True) | Q(until__gt=timezone.now())
    return Freeze.objects.filter(not_past, lifted_at__isnull=True).first()


def freeze(reason: str, *, by: str, until: datetime | None = None) -> Freeze:
    """Refuse deployments from now on, until then or until somebody lifts it.

    Raises:
        Refused: there is no reason, the end is past or far off, or they are frozen already.
    """
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= MAX_REASON:
        raise Refused(
            f"A freeze needs a reason, of at most {MAX_REASON} characters.",
            next='manage.py freeze "what the others should know"',
        )
    now = timezone.now()
    if until is not None:
        _require_soon(until, now)
    Freeze.objects.filter(lifted_at__isnull=True, until__lte=now).update(
        lifted_at=now, lifted_by="its end"
    )
    try:
        with transaction.atomic():
            return Freeze.objects.create(reason=reason, frozen_by=by[:150], until=until)
    except IntegrityError:
        there = in_force()
        raise Refused(
            f"Deployments are frozen already{f': {describe(there)}' if there else ''}.",
            next="manage.py unfreeze   # then freeze anew, if another end or reason is meant",
        ) from None


def unfreeze(*, by: str) -> Freeze | None:
    """Lift the freeze that is in force; None when there was none."""
    there = in_force()
    if there is None:
        return None
    lifted = Freeze.objects.filter(pk=there.pk, lifted_at__isnull=True).update(
        lifted_at=timezone.now(), lifted_by=by[:150]
    )
    return there if lifted else None


def require_thawed(override: bool) -> str:
    """Let nothing pass while deployments are frozen, unless it is overruled.

    Returns:
        What was overruled, for the history; "" when nothing was frozen.

    Raises:
        Frozen: deployments are frozen; says by whom, why and until when.
        OpsError: Postgres does not answer, so nobody knows.
    """
    try:
        there = in_force()
    except DatabaseError as error:
        raise postgres.away(
            error, without="Whether deployments are frozen is not known."
        ) from error
    if there is None:
        return ""
    if override:
        return f"freeze of {describe(there)}"[:300]
    raise Frozen(
        f"Deployments are frozen by {describe(there)}.",
        next="manage.py deploy --override   # is recorded; or: manage.py unfreeze",
    )


def describe(freeze: Freeze) -> str:
    """Who, since when, until when and why, in the project's time zone."""
    end = f"until {moment(freeze.until)}" if freeze.until else "until somebody lifts it"
    who = freeze.frozen_by or "somebody"
    return f"{who} since {moment(freeze.frozen_at)}, {end}: {freeze.reason}"


def moment(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"


def read_end(text: str) -> datetime:
    """A time such as "2026-12-27 08:00", in the project's time zone unless it says another.

    Raises:
        Refused: it is no time.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return at if at.tzinfo else timezone.make_aware(at)
    except (ValueError, OverflowError):
        raise Refused(
            f'"{text}" is no time.', next='write it like --until "2026-12-27 08:00"'
        ) from None


def _require_soon(until: datetime, now: datetime) -> None:
    if until <= now:
        raise Refused(
            f"The freeze would have ended before it began: {until:%Y-%m-%d %H:%M %Z} is past, "
            f"it is {moment(now)}.",
            next="give a later --until, or --hours N",
        )
    if until - now > LONGEST:
        raise Refused(
            f"The freeze would end in more than {LONGEST.days} days.",
            next="leave --until away: then it lasts until manage.py unfreeze",
        )
