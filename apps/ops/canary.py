"""A task that says which release ran it: that a worker runs does not tell that tasks come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, sleep

from django.conf import settings
from django.db.utils import Error as DatabaseProblem
from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from apps.ops.broker import FirstInFirstOut
from apps.ops.errors import StepFailed
from apps.ops.redact import first_line

# By name, because the release that queues it is not the one that runs it.
ANSWER = "apps.ops.canary.answer"
# When it pretends to have been queued: before everything that waits.
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
LOOK_SECONDS = 0.1
LOGS = "docker compose logs django-q"


class Lost(StepFailed):
    """The canary did not come back in time."""


class Unknown(StepFailed):
    """It came back from a release that has no canary yet."""


def answer() -> str:
    """The task itself: the release of the worker that runs it."""
    return str(settings.RELEASE)


@dataclass(frozen=True, slots=True)
class Canary:
    """`task` is the id of its result, `row` its place in the queue (None: not in the database)."""

    task: str
    row: int | None


def send() -> Canary:
    """Queue a canary before all other tasks.

    Raises:
        StepFailed: the database does not answer.
    """
    try:
        broker: Broker = get_broker()
        if isinstance(broker, ORM):
            broker = _AtTheFront(broker.list_key)
        task = async_task(
            ANSWER,
            task_name="canary",
            # Its result must be a row, whatever the project does with its own.
            q_options={"broker": broker, "save": True, "cached": False, "ack_failure": True},
        )
    except DatabaseProblem as error:
        raise _away(error) from error
    return Canary(task, broker.row if isinstance(broker, _AtTheFront) else None)


def wait(canary: Canary, *, seconds: float, look: Callable[[], object] = lambda: None) -> str:
    """The release that ran it. What is left of it is deleted, also when it never comes back.

    Args:
        seconds: how long it may take from now.
        look: asked at each turn; raises when there is nothing to wait for any more.

    Raises:
        Lost: it did not come back in time.
        Unknown: the release that ran it has no such task.
        StepFailed: it failed in another way, or the database does not answer.
    """
    try:
        try:
            return _result(_finished(canary, seconds, look))
        finally:
            OrmQ.objects.filter(pk=canary.row).delete()
            Task.objects.filter(id=canary.task).delete()
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


def _finished(canary: Canary, seconds: float, look: Callable[[], object]) -> Task:
    deadline = monotonic() + seconds
    while (task := Task.objects.filter(id=canary.task).first()) is None:
        look()
        if monotonic() > deadline:
            raise Lost(
                f"A canary task did not come back from the worker within {seconds:g} s.",
                next=f"{LOGS}   # it is stuck, or its tasks are slow: raise OPS_CANARY_SECONDS",
            )
        sleep(LOOK_SECONDS)
    return task


def _result(task: Task) -> str:
    result = str(task.result)
    if task.success:
        return result
    # django-q2's words for a function that it cannot import.
    if f"Function {ANSWER} is not defined" in result:
        raise Unknown("The worker's release has no canary task.", next=LOGS)
    raise StepFailed("A canary task failed in the worker.", output=result, next=LOGS)


def _away(error: Exception) -> StepFailed:
    return StepFailed(
        f"Postgres does not answer, and it has the task queue ({first_line(error)}).",
        next="docker compose ps --all postgres",
    )
