"""Answers what was asked for in the admin: looks whether it may be, and does it."""

from __future__ import annotations

from datetime import timedelta

from django.db import DataError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.ops import freezes, security_log
from apps.ops.conf import OpsSettings
from apps.ops.deploys import requests
from apps.ops.deploys.lock import held_by
from apps.ops.errors import OpsError, Refused
from apps.ops.models import Deployment, Request
from apps.ops.requester import is_of_the_site, printable, through_the_site
from apps.ops.stack.engine import Engine

# Deployments that wait at a time.
MAX_WAITING = 10
# Rows that one look refuses unread when there are more than it reads.
BATCH = 1_000
KEPT = 1_000
KEPT_FOR = timedelta(days=90)


def answer(settings: OpsSettings) -> int:
    """Answer the newest that wait, in the order they came; refuse what a flood left behind them.

    Returns:
        How many were answered.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    waiting = Request.objects.filter(outcome=Request.Outcome.WAITING)
    numbers = list(waiting.order_by("-id").values_list("pk", flat=True)[: requests.AT_ONCE + BATCH])
    newest, flood = numbers[: requests.AT_ONCE], numbers[requests.AT_ONCE :]
    if flood:
        refused = "Too much was asked for at once: only the newest was looked at."
        _close(Request.objects.filter(pk__in=flood), Request.Outcome.REFUSED, refused)
        security_log.record(
            security_log.Event.REFUSED, detail=f"{len(flood)} requests unread: {refused}"
        )
    for number in reversed(newest):
        _answer(number, settings)
    return len(numbers)


def prune() -> None:
    """Forget what was answered long ago, or was answered before the newest KEPT."""
    answered = Request.objects.exclude(outcome=Request.Outcome.WAITING)
    answered.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    if last := answered.order_by("-id").values_list("pk", flat=True)[KEPT : KEPT + 1].first():
        answered.filter(pk__lte=last).delete()


def _answer(number: int, settings: OpsSettings) -> None:
    asked = Request.objects.filter(pk=number, outcome=Request.Outcome.WAITING)
    try:
        with transaction.atomic():
            # Another agent may be at it.
            row = asked.select_for_update(skip_locked=True).first()
            if row is None:
                return
            try:
                done, deployment = _act(row, settings)
                _close(asked, Request.Outcome.ACCEPTED, done, deployment)
            except OpsError as error:
                _close(asked, Request.Outcome.REFUSED, requests.in_words(error))
                security_log.record(
                    security_log.Event.REFUSED,
                    username=through_the_site(row.requested_by),
                    address=row.requested_from,
                    detail=f"{row.kind} {row.ref!r}: {error.found}",
                )
    except DataError as error:
        # What cannot even be read must not keep the others waiting.
        _close(asked, Request.Outcome.REFUSED, f"It cannot be read: {error}")


def _act(row: Request, settings: OpsSettings) -> tuple[str, Deployment | None]:
    by = through_the_site(row.requested_by)
    if timezone.now() - row.created_at > requests.PATIENCE:
        raise Refused("It waited for more than an hour.", next="ask for it again")
    requests.require_allowed(row.kind, row.ref, settings)
    match row.kind:
        case Request.Kind.CANCEL:
            return _cancel(int(row.ref), by, settings), None
        case Request.Kind.FREEZE:
            made = freezes.freeze(row.reason, by=by, until=row.until, state_dir=settings.state_dir)
            freezes.publish(settings.state_dir)
            return f"Deployments are frozen by {made.describe()}.", None
        case Request.Kind.UNFREEZE:
            lifted = freezes.unfreeze(by=by, state_dir=settings.state_dir)
            freezes.publish(settings.state_dir)
            if lifted is None:
                return "Deployments were not frozen.", None
            return f"Lifted: the freeze by {lifted.describe()}.", None
    requests.require_new(row.kind, row.ref)
    if Deployment.objects.filter(status=Deployment.Status.QUEUED).count() >= MAX_WAITING:
        raise Refused(f"{MAX_WAITING} deployments wait already.", next="cancel one, or ask later")
    deployment = Deployment.objects.create(
        kind=row.kind,
        status=Deployment.Status.QUEUED,
        ref=row.ref,
        requested_by=by,
        requested_from=printable(row.requested_from)[:200],
    )
    return f"It is deployment #{deployment.pk}.", deployment


def _cancel(number: int, by: str, settings: OpsSettings) -> str:
    deployment = Deployment.objects.filter(pk=number).first()
    if deployment is None or deployment.status in Deployment.TERMINAL:
        raise Refused(f"Deployment #{number} neither runs nor waits.")
    if not is_of_the_site(deployment.requested_by):
        raise Refused(
            f"Deployment #{number} was asked for at the command line, and is cancelled only there.",
            next="manage.py cancel   # on the server",
        )
    withdrawn = requests.fail(deployment, f"It was cancelled by {by} before it began.")
    # It can have begun an instant before: then it holds the lock.
    holding = held_by(settings.state_dir)
    if holding and holding.uid and holding.uid == deployment.uid:
        if not Engine(settings.project).signal(holding.container, "SIGTERM"):
            raise OpsError(
                f"Deployment #{number} runs in no container that can be reached.",
                next="manage.py cancel   # on the server",
            )
        return f"Deployment #{number} was asked to stop: before the swap it is undone."
    if withdrawn:
        return f"Deployment #{number} waits no more."
    raise Refused(f"Deployment #{number} has just ended.")


def _close(
    rows: QuerySet[Request],
    outcome: Request.Outcome,
    said: str,
    deployment: Deployment | None = None,
) -> None:
    rows.update(
        outcome=outcome,
        answer=said.replace("\x00", "")[:500],
        answered_at=timezone.now(),
        deployment=deployment,
    )
