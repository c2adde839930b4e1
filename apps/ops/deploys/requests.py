"""Deployments that were asked for in the admin: rows, claimed by an agent, each run once.

What can be asked for is a closed list, and the web adds rows of it and nothing else. So what stands
in a row is read as anybody's words: the agent looks whether it may be asked for, and what carries
it out looks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from apps.ops import postgres
from apps.ops.conf import OpsSettings
from apps.ops.deploys import journal
from apps.ops.errors import OpsError, Refused
from apps.ops.models import Deployment, Request
from apps.ops.source import Checkout
from apps.ops.source.refs import COMMIT

# Whoever asked has gone home by then.
PATIENCE = timedelta(hours=1)
NOTHING_DONE = "Nothing was done; traffic is as it was."
MAX_REF = 250
ASK_LOCK = "changeover.request"
# How many are looked at in one go.
AT_ONCE = 20
_REF = re.compile(r"\w[\w./+@-]*")
_SHA = re.compile(r"[0-9a-f]{7,40}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_NEVER_IN_A_REF = ("..", "//", "@{", "/.", ".lock/")


def allowed_refs(settings: OpsSettings) -> tuple[str, ...]:
    return settings.request_refs or (settings.branch,)


def require_allowed(kind: str, ref: str, settings: OpsSettings) -> None:
    """Let only what may be asked for in the admin pass; of a commit, as far as its name tells.

    Raises:
        Refused: it cannot be asked for, or OPS_REQUEST_REFS does not allow it.
    """
    if found := why_not(kind, ref):
        raise Refused(found)
    named = any(fnmatchcase(ref, pattern) for pattern in allowed_refs(settings))
    if kind == Request.Kind.DEPLOY and not named and not _SHA.fullmatch(ref):
        raise _not_allowed(ref, settings)


def require_allowed_commit(
    sha: str, ref: str, *, checkout: Checkout, settings: OpsSettings
) -> None:
    """As `require_allowed`, once the remote's commits are here.

    Raises:
        Refused: it is a commit that no allowed branch has.
    """
    allowed = allowed_refs(settings)
    # By what was found and not by how it was said: `refs/heads/x` fits no `r*`, it is branch x.
    found = [meaning for meaning in checkout.meanings(ref) if meaning.kind != COMMIT]
    named = any(
        fnmatchcase(m.unmistakable if p.startswith("refs/") else m.name, p)
        for m in found
        for p in allowed
    )
    if not named and not checkout.is_on(sha, allowed):
        raise _not_allowed(ref, settings)


def _not_allowed(ref: str, settings: OpsSettings) -> Refused:
    return Refused(
        f"{ref!r} may not be asked for through the site, only {', '.join(allowed_refs(settings))} "
        "and its commits.",
        next="manage.py deploy REF   # on the server; or allow it: OPS_REQUEST_REFS in .env",
    )


def why_not(kind: str, ref: str) -> str:
    """Why this cannot be asked for, a sentence; "" when it can.

    Args:
        ref: of a rollback: a commit's first characters, or "" for the newest stable release; to
            cancel, a deployment's number.
    """
    match kind:
        case Request.Kind.DEPLOY:
            fits = _REF.fullmatch(ref) and not ref.endswith(("/", ".", ".lock"))
            if not fits or len(ref) > MAX_REF or any(part in ref for part in _NEVER_IN_A_REF):
                return "That is no branch, tag or commit."
        case Request.Kind.ROLLBACK:
            if ref and not _SHA.fullmatch(ref):
                return "That is no commit."
        case Request.Kind.CANCEL:
            if not _NUMBER.fullmatch(ref):
                return "That is no deployment's number."
        case Request.Kind.FREEZE | Request.Kind.UNFREEZE:
            return ""
        case _:
            return f"{kind!r} cannot be asked for."
    return ""


def ask(
    kind: str,
    ref: str = "",
    *,
    by: str,
    origin: str,
    reason: str = "",
    until: datetime | None = None,
) -> Request:
    """Write down that somebody wants something. All that the web does.

    Raises:
        Refused: it cannot be asked for, or waits already.
    """
    if found := why_not(kind, ref):
        raise Refused(found)
    with transaction.atomic():
        # A double click is two requests at once: the second must see what the first wrote.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [ASK_LOCK])
        if Request.objects.filter(outcome=Request.Outcome.WAITING, kind=kind, ref=ref).exists():
            raise Refused("That is asked for already, and waits.")
        require_new(kind, ref)
        return Request.objects.create(
            kind=kind,
            ref=ref,
            reason=reason[:200],
            until=until,
            requested_by=by[:150],
            requested_from=origin[:200],
        )


def require_new(kind: str, ref: str) -> None:
    """Refuse what makes another one pointless, or worse: a second rollback, asked for while the
    first one runs, would go back one release more."""
    there = None
    if kind == Request.Kind.ROLLBACK:
        there = Deployment.objects.filter(status__in=("queued", "running"), kind=kind).first()
    elif kind == Request.Kind.DEPLOY:
        there = Deployment.objects.filter(status="queued", kind=kind, ref=ref).first()
    if there:
        raise Refused(f"That is asked for already: #{there.pk} is {there.status}.")


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
    taken = Deployment.objects.filter(status=Deployment.Status.QUEUED, uid__isnull=False)
    return list(taken.order_by("id")[:AT_ONCE])


def expire() -> int:
    """End what nobody took in time; how many there were."""
    old = Q(status=Deployment.Status.QUEUED, uid=None, created_at__lt=timezone.now() - PATIENCE)
    return Deployment.objects.filter(old).update(
        **_failed("It waited for more than an hour and was not started.")
    )


def fail(row: Deployment, found: str, *, next: str = "", exit_code: int = 1) -> bool:
    """End one that has not begun; whether it had not."""
    waits = Deployment.objects.filter(pk=row.pk, status=Deployment.Status.QUEUED)
    return bool(waits.update(**_failed(found, next=next, exit_code=exit_code)))


def put_back(row: Deployment) -> bool:
    """Let one that was taken and has not begun wait again; whether it had not."""
    waits = Deployment.objects.filter(pk=row.pk, uid=row.uid, status=Deployment.Status.QUEUED)
    return bool(waits.update(uid=None))


def has_begun(state_dir: Path, uid: str) -> bool:
    """Whether a deployment has ever written anything down: then it is never started again."""
    return (state_dir / journal.DIRECTORY / f"{uid}.jsonl").exists()


def require_waiting(uid: str, *, kind: str, settings: OpsSettings) -> Deployment:
    """Let only what was asked for, taken and not begun pass. For the holder of the deploy lock.

    Returns:
        Its row, which says what is to be done and for whom.

    Raises:
        OpsError: Postgres does not answer.
        Refused: it was begun before, has ended, was never asked for, or may not be asked for.
    """
    row = None
    if journal.is_uid(uid) and not has_begun(settings.state_dir, uid):
        try:
            row = Deployment.objects.filter(uid=uid, kind=kind, status="queued").first()
        except DatabaseError as error:
            raise postgres.away(error, without="Whether it still waits is not known.") from error
    if row is None:
        raise Refused(
            f"The {kind} asked for as {uid!r} does not wait any more: nothing is done twice.",
            next="manage.py history",
        )
    require_allowed(kind, row.ref, settings)
    return row


def in_words(error: OpsError) -> str:
    advice = f" Next: {error.next}" if error.next else ""
    return f"{error.found} {error.traffic or NOTHING_DONE}{advice}"


def _failed(found: str, *, next: str = "", exit_code: int = 1) -> dict[str, object]:
    return {
        "status": Deployment.Status.FAILED,
        "exit_code": exit_code,
        "finished_at": timezone.now(),
        # Postgres has no NUL in text.
        "error": found.replace("\x00", ""),
        "traffic": NOTHING_DONE,
        "next": (next or "manage.py deploy   # or ask for it again")[:300],
    }
