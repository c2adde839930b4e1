"""The history of a deployment, written as it happens: each step's row before the step acts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from time import monotonic, sleep

from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.errors import OpsError
from apps.ops.models import Deployment, Release, Step
from apps.ops.source import Commit

OUTPUT_LINES = 200
OUTPUT_CHARACTERS = 50_000
WRITE_SECONDS = 5
# How it ended is worth waiting for a restart of Postgres.
LAST_WORD_SECONDS = 15.0
RETRY_SECONDS = 0.5


def prepare() -> None:
    """Make sure that the history's own tables are there, as this code knows them.

    The site's migrations are applied by the release that needs them; these must exist before that,
    to record it. They only ever add.

    Raises:
        DatabaseError: Postgres does not answer, or refuses.
    """
    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "ops"]
    if executor.migration_plan(targets):
        call_command("migrate", "ops", interactive=False, verbosity=0)


def close_interrupted() -> int:
    """Say of deployments that still claim to run that they were interrupted.

    Only for the holder of the deploy lock: then nobody else runs.

    Returns:
        How many there were.
    """
    now = timezone.now()
    running = Deployment.objects.filter(status=Deployment.Status.RUNNING)
    Step.objects.filter(deployment__in=running, status=Step.Status.RUNNING).update(
        status=Step.Status.FAILED, finished_at=now, summary="its process ended without a word"
    )
    found = "Its process ended without a word; the next deployment found it."
    ended = {"status": Deployment.Status.INTERRUPTED, "finished_at": now}
    return running.filter(swapped_at__isnull=True).update(**ended, error=found) + running.filter(
        swapped_at__isnull=False
    ).update(**ended, error=f"{found} It was after the swap: its release was live.")


def begin(*, ref: str, requested_by: str, requested_from: str) -> Deployment:
    return Deployment.objects.create(
        kind=Deployment.Kind.DEPLOY,
        status=Deployment.Status.RUNNING,
        ref=ref[:250],
        requested_by=requested_by[:150],
        requested_from=requested_from[:200],
        started_at=timezone.now(),
    )


def record_refusal(*, ref: str, requested_by: str, requested_from: str, error: OpsError) -> int:
    """A deployment that was refused before it began."""
    now = timezone.now()
    row = Deployment.objects.create(
        kind=Deployment.Kind.DEPLOY,
        status=Deployment.Status.FAILED,
        ref=ref[:250],
        requested_by=requested_by[:150],
        requested_from=requested_from[:200],
        started_at=now,
        finished_at=now,
        exit_code=error.exit_code,
        error=error.found,
        traffic=error.traffic[:300],
        next=error.next[:300],
    )
    return row.pk


class History(Listener):
    """Writes what it is told into a deployment's rows.

    A database that goes away must not take a deployment with it: what cannot be written is counted,
    and `lost` says so at the end.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.lost = 0
        self._deployment = deployment
        self._step: Step | None = None
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)

    def planned(self, plan: Plan) -> None:
        def write() -> None:
            row = self._deployment
            row.release = _release(plan.commit)
            row.previous_release = Release.objects.filter(sha=plan.live_release).first()
            row.color = plan.candidate.value
            row.commits = [_as_json(commit) for commit in plan.commits]
            row.commits_total = plan.commits_total
            row.save(
                update_fields=["release", "previous_release", "color", "commits", "commits_total"]
            )

        self._write(write)

    def step_started(self, name: str, position: int) -> None:
        self._output.clear()
        self._step = Step(
            deployment=self._deployment, position=position, name=name, started_at=timezone.now()
        )
        self._write(self._step.save)

    def line(self, text: str) -> None:
        # Postgres has no NUL in text.
        self._output.append(text.replace("\x00", "")[:2000])

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._end_step(Step.Status.SUCCEEDED, summary)

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        if error.output and not self._output:
            self._output.extend(error.output.splitlines())
        self._end_step(Step.Status.FAILED, error.found)

    def step_undone(self, name: str) -> None:
        self._write(
            lambda: Step.objects.filter(
                deployment=self._deployment, name=name, status=Step.Status.SUCCEEDED
            ).update(status=Step.Status.UNDONE)
        )

    def swapped(self, at: datetime) -> None:
        self._deployment.swapped_at = at
        self._write(lambda: self._deployment.save(update_fields=["swapped_at"]))

    def image(self, digest: str) -> None:
        release = self._deployment.release
        if release:
            self._write(lambda: Release.objects.filter(pk=release.pk).update(image=digest[:80]))

    def ended(self, outcome: Outcome) -> None:
        error = outcome.error
        self._write(
            # Conditional: whoever ended it first has said the last word.
            lambda: Deployment.objects.filter(
                pk=self._deployment.pk, status=Deployment.Status.RUNNING
            ).update(
                status=outcome.status,
                exit_code=outcome.exit_code,
                finished_at=timezone.now(),
                warnings=list(outcome.warnings),
                error=f"{error.found}\n\n{error.output}".strip() if error else "",
                traffic=error.traffic[:300] if error else "",
                next=error.next[:300] if error else "",
            ),
            patience=LAST_WORD_SECONDS,
        )

    def _end_step(self, status: str, summary: str) -> None:
        step = self._step
        if step is None:
            return
        step.status = status
        step.summary = summary[:300]
        step.finished_at = timezone.now()
        step.output = "\n".join(self._output)[-OUTPUT_CHARACTERS:]
        self._write(step.save)
        self._step = None
        self._output.clear()

    def _write(self, write: Callable[[], object], *, patience: float = 0.0) -> None:
        """Write, and once more on a new connection; for `patience` seconds again and again."""
        deadline = monotonic() + patience
        attempt = 0
        while True:
            attempt += 1
            try:
                with transaction.atomic():
                    _set_deadline()
                    write()
                return
            except DatabaseError:
                # A connection that broke (a restart of Postgres) is replaced once.
                connection.close()
                if attempt > 1 and monotonic() > deadline:
                    self.lost += 1
                    return
                if attempt > 1:
                    sleep(RETRY_SECONDS)


def _set_deadline() -> None:
    # A lock that somebody holds in these tables must not hold up a deployment.
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{WRITE_SECONDS}s'")


def _release(commit: Commit) -> Release:
    release, _ = Release.objects.get_or_create(
        sha=commit.sha,
        defaults={
            "subject": commit.subject[:200],
            "author": commit.author[:200],
            "committed_at": commit.committed_at,
        },
    )
    return release


def _as_json(commit: Commit) -> dict[str, str]:
    return {
        "sha": commit.sha,
        "author": commit.author,
        "subject": commit.subject[:200],
        "committed_at": commit.committed_at.isoformat(),
    }
