"""A task that says which release ran it: that a worker runs does not tell that tasks come back.

The worker answers in a row of plain columns. Whoever waits holds Docker's socket and must not read
what django-q2 keeps of a task: arguments and results are pickles, which the web can write.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

from django.conf import settings
from django.db.utils import Error as DatabaseProblem
from django.utils import timezone
from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from apps.ops import models
from apps.ops.broker import FirstInFirstOut
from apps.ops.errors import StepFailed
from apps.ops.redact import first_line

# By name, because the release that queues it is not the one that runs it.
ANSWER = "apps.ops.canary.answer"
# In the image of each release whose worker answers in a row.
ROW_SOURCE = "apps/ops/models/canary.py"
# When it pretends to have been queued: before everything that waits.
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
LOOK_SECONDS = 0.1
# A row that is older was left by somebody who was killed.
LEFT = timedelta(days=1)
LOGS = "docker compose logs django-q"
_RELEASE = re.compile(r"[0-9a-f]{40}|unreleased")


class Lost(StepFailed):
    """The canary did not come back in time."""


class Failed(StepFailed):
    """The worker took it and it failed there, as it does in a release that answers otherwise."""


def answer(uid: str = "") -> str:
    """The task itself: the release of the worker that runs it.

    Args:
        uid: of the row that is answered; none from a deployer of before there were rows, which
            reads what is returned.
    """
    release = str(settings.RELEASE)
    models.Canary.objects.filter(uid=uid, answered_at=None).update(
        release=release[:40], answered_at=timezone.now()
    )
    return release


@dataclass(frozen=True, slots=True)
class Canary:
    """`uid` is of its row, `task` of what django-q2 keeps of one that failed, `place` is its number
    in the queue (None: not in the database)."""

    uid: str
    task: str
    place: int | None


def send() -> Canary:
    """Queue a canary before all other tasks.

    Raises:
        StepFailed: the database does not answer.
    """
    uid = secrets.token_hex(16)
    try:
        models.Canary.objects.filter(sent_at__lt=timezone.now() - LEFT).delete()
        models.Canary.objects.create(uid=uid)
        broker: Broker = get_broker()
        if isinstance(broker, ORM):
            broker = _AtTheFront(broker.list_key)
        task = async_task(
            ANSWER,
            uid,
            task_name="canary",
            # One that fails is kept all the same, and tells us so.
            q_options={"broker": broker, "save": False, "cached": False, "ack_failure": True},
        )
    except DatabaseProblem as error:
        raise _away(error) from error
    return Canary(uid, task, broker.row if isinstance(broker, _AtTheFront) else None)


def wait(canary: Canary, *, seconds: float, look: Callable[[], object] = lambda: None) -> str:
    """The release that says that it ran it: 40 hexadecimal digits, or `unreleased`. What is left of
    it is deleted, also when it never comes back.

    Args:
        seconds: how long it may take from now.
        look: asked at each turn; raises when there is nothing to wait for any more.

    Raises:
        Lost: it did not come back in time.
        Failed: it failed in the worker.
        StepFailed: the answer is none, or the database does not answer.
    """
    try:
        try:
            return _answered(canary, seconds, look)
        finally:
            OrmQ.objects.filter(pk=canary.place).delete()
            # Nothing but its number is read, whoever wants to be told of what is deleted.
            Task.objects.filter(id=canary.task).only("pk").delete()
            models.Canary.objects.filter(uid=canary.uid).delete()
    except DatabaseProblem as error:
        raise _away(error) from error


def forget() -> int:
    """Take back the canaries that nobody fetched, for example of a deployment that was killed.

    Returns:
        How many there were.
    """
    deleted, _ = OrmQ.objects.filter(lock=FIRST).delete()
    return int(deleted)


class _AtTheFront(FirstInFirstOut):
    row: int | None = None

    def enqueue(self, task: str) -> int:
        row: OrmQ = self.get_connection().create(key=self.list_key, payload=task, lock=FIRST)
        self.row = row.pk
        return int(row.pk)


def _answered(canary: Canary, seconds: float, look: Callable[[], object]) -> str:
    deadline = monotonic() + seconds
    answer = models.Canary.objects.filter(uid=canary.uid).exclude(answered_at=None)
    failed = Task.objects.filter(id=canary.task, success=False)
    while (release := answer.values_list("release", flat=True).first()) is None:
        if failed.exists():
            raise Failed("A canary task failed in the worker.", next=f"{LOGS}   # says why")
        look()
        if monotonic() > deadline:
            raise Lost(
                f"A canary task did not come back from the worker within {seconds:g} s.",
                next=f"{LOGS}   # it is stuck, or its tasks are slow: raise OPS_CANARY_SECONDS",
            )
        sleep(LOOK_SECONDS)
    # Whoever has the site's database can answer, with whatever fits into the column.
    if not _RELEASE.fullmatch(release):
        raise StepFailed("A canary task came back with what names no release.", next=LOGS)
    return str(release)


def _away(error: Exception) -> StepFailed:
    return StepFailed(
        f"Postgres does not answer, and it has the task queue ({first_line(error)}).",
        next="docker compose ps --all postgres",
    )
