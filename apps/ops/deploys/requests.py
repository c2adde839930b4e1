"""Deployments that were asked for in the admin: rows, claimed by an agent, each run once.

What can be asked for is a closed list: deploy a ref of the configured remote, go back to a recorded
release. The web writes rows and nothing else, so what stands in them is read as anybody's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from apps.ops import postgres
from apps.ops.deploys import journal
from apps.ops.errors import Refused
from apps.ops.models import Deployment

# Whoever asked has gone home by then.
PATIENCE = timedelta(hours=1)
NOTHING_DONE = "Nothing was done; traffic is as it was."
MAX_REF = 250
ASK_LOCK = "changeover.request"
_REF = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./+@-]*")
_SHA = re.compile(r"[0-9a-f]{7,40}")
_NEVER_IN_A_REF = ("..", "//", "@{", "/.", ".lock/")


def why_not(kind: str, ref: str) -> str:
    """Why this cannot be asked for, a sentence; "" when it can.

    Args:
        ref: of a rollback: a commit's first characters, or "" for the newest stable release.
    """
    match kind:
        case Deployment.Kind.DEPLOY:
            fits = _REF.fullmatch(ref) and not ref.endswith(("/", ".", ".lock"))
            if not fits or len(ref) > MAX_REF or any(part in ref for part in _NEVER_IN_A_REF):
                return "That is no branch, tag or commit."
        case Deployment.Kind.ROLLBACK:
            if ref and not _SHA.fullmatch(ref):
                return "That is no commit."
        case _:
            return f"{kind} cannot be asked for."
    return ""


def ask(kind: str, ref: str, *, by: str, origin: str) -> Deployment:
    """Write down that somebody wants a deployment.

    Raises:
        Refused: it cannot be asked for, or waits already.
    """
    if found := why_not(kind, ref):
        raise Refused(found)
    with transaction.atomic():
        # A double click is two requests at once: the second must see what the first wrote.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [ASK_LOCK])
        if there := _the_same(kind, ref):
            raise Refused(f"That is asked for already: #{there.pk} is {there.status}.")
        return Deployment.objects.create(
            kind=kind,
            status=Deployment.Status.QUEUED,
            ref=ref,
            requested_by=by[:150],
            requested_from=origin[:200],
        )


def _the_same(kind: str, ref: str) -> Deployment | None:
    """What makes another one pointless, or worse: a second rollback, asked for while the first one
    runs, would go back one release more."""
    if kind == Deployment.Kind.ROLLBACK:
        return Deployment.objects.filter(status__in=("queued", "running"), kind=kind).first()
    return Deployment.objects.filter(status="queued", kind=kind, ref=ref).first()


def claim(*, resting: Iterable[int] = ()) -> Deployment | None:
    """Take the oldest that nobody took; None when there is none. Of several agents, one gets it.

    Args:
        resting: the numbers of those that are left alone for now.
    """
    waiting = Deployment.objects.filter(status=Deployment.Status.QUEUED, uid=None)
    for number in waiting.exclude(pk__in=resting).order_by("id").values_list("pk", flat=True)[:10]:
        uid = journal.new_uid()
        if waiting.filter(pk=number).update(uid=uid):
            return Deployment.objects.get(pk=number)
    return None


def claimed() -> list[Deployment]:
    """Those that an agent took and that have not begun, the oldest first."""
    return list(
        Deployment.objects.filter(status=Deployment.Status.QUEUED, uid__isnull=False).order_by("id")
    )


def expire() -> int:
    """End what nobody took in time; how many there were."""
    old = Q(status=Deployment.Status.QUEUED, uid=None, created_at__lt=timezone.now() - PATIENCE)
    return Deployment.objects.filter(old).update(
        **_failed("It waited for more than an hour and was not started.")
    )


def fail(row: Deployment, found: str, *, next: str = "") -> bool:
    """End one that has not begun; whether it had not."""
    waits = Deployment.objects.filter(pk=row.pk, status=Deployment.Status.QUEUED)
    return bool(waits.update(**_failed(found, next=next)))


def put_back(row: Deployment) -> bool:
    """Let one that was taken and has not begun wait again; whether it had not."""
    waits = Deployment.objects.filter(pk=row.pk, uid=row.uid, status=Deployment.Status.QUEUED)
    return bool(waits.update(uid=None))


def has_begun(state_dir: Path, uid: str) -> bool:
    """Whether a deployment has ever written anything down: then it is never started again."""
    return (state_dir / journal.DIRECTORY / f"{uid}.jsonl").exists()


def require_waiting(uid: str, *, kind: str, state_dir: Path) -> None:
    """Let only what was asked for, taken and not begun pass. For the holder of the deploy lock.

    Raises:
        OpsError: Postgres does not answer.
        Refused: it was begun before, has ended, or was never asked for.
    """
    try:
        waits = Deployment.objects.filter(uid=uid, kind=kind, status="queued").exists()
    except DatabaseError as error:
        raise postgres.away(error, without="Whether it still waits is not known.") from error
    if has_begun(state_dir, uid) or not waits:
        raise Refused(
            f"The {kind} asked for as {uid} does not wait any more: nothing is done twice.",
            next="manage.py history",
        )


def _failed(found: str, *, next: str = "") -> dict[str, object]:
    return {
        "status": Deployment.Status.FAILED,
        "exit_code": 1,
        "finished_at": timezone.now(),
        # Postgres has no NUL in text.
        "error": found.replace("\x00", ""),
        "traffic": NOTHING_DONE,
        "next": (next or "manage.py deploy   # or ask for it again")[:300],
    }
