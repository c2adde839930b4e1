"""The history in Postgres: a deployment's rows, written from its story as it happens.

Whatever could not be written is written the next time: the rows are made equal to the story, not
added to.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any

from django.core.management import call_command
from django.db import DatabaseError, DataError, connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from apps.ops.backups.server import owner_alias
from apps.ops.deploys.story import StepStory, Story
from apps.ops.models import Deployment, Packages, Release, Step

logger = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
# How it ended is worth waiting for a restart of Postgres.
LAST_WORD_SECONDS = 15.0
RETRY_SECONDS = 0.5
# A deployment writes several times a second: its connection is kept for as long, and no longer.
IDLE_SECONDS = 1.0


def prepare() -> None:
    """Make sure that the history's own tables are there, as this code knows them.

    The site's migrations are applied by the release that needs them; these must exist before that,
    to record it. They only ever add.

    Raises:
        DatabaseError: Postgres does not answer, or refuses.
    """
    owner = owner_alias()
    executor = MigrationExecutor(connections[owner])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "ops"]
    if executor.migration_plan(targets):
        call_command("migrate", "ops", database=owner, interactive=False, verbosity=0)


def close_interrupted() -> int:
    """Say of deployments that still claim to run, and have no journal, that they were interrupted.

    Only for the holder of the deploy lock, after recovery: then nobody else runs.

    Returns:
        How many there were.
    """
    now = timezone.now()
    running = Deployment.objects.filter(status=Deployment.Status.RUNNING)
    Step.objects.filter(deployment__in=running, status=Step.Status.RUNNING).update(
        status=Step.Status.FAILED, finished_at=now, summary="its process ended without a word"
    )
    found = "Its process ended without a word, and its journal is gone."
    return running.update(status=Deployment.Status.INTERRUPTED, finished_at=now, error=found)


def bring_in(stories: list[Story]) -> int:
    """Write the rows of deployments that ended while Postgres was away.

    Returns:
        How many there were.

    Raises:
        DatabaseError: Postgres is still away.
    """
    ended = {story.uid: story for story in stories if story.ended and story.started_at}
    known = Deployment.objects.filter(uid__in=ended, status__in=Deployment.TERMINAL)
    missing = sorted(ended.keys() - set(known.values_list("uid", flat=True)))
    for uid in missing:
        # One that Postgres does not take must not keep the newer ones out.
        with suppress(DataError):
            save(ended[uid])
    return len(missing)


def save(story: Story, *, saved: Mapping[str, StepStory] = MappingProxyType({})) -> int:
    """Make a deployment's rows what its story says; its number.

    A status that is terminal stays, whatever the story says: whoever ended it first has said the
    last word, and the database would refuse another one.

    Args:
        saved: steps as they were saved before; what is still the same is not written again.

    Raises:
        DatabaseError: Postgres is away, or refuses.
    """
    with transaction.atomic():
        _set_deadline()
        row = _row(story)
        for step in story.steps.values():
            if saved.get(step.name) == step:
                continue
            Step.objects.update_or_create(
                deployment=row, position=step.position, defaults=_step_fields(step)
            )
            if step.name == "build" and story.packages:
                Packages.objects.update_or_create(
                    release=_release(story), defaults={"inventory": story.packages}
                )
    return row.pk


def _row(story: Story) -> Deployment:
    fields = _fields(story)
    row, created = Deployment.objects.get_or_create(uid=story.uid, defaults=fields)
    if created:
        Deployment.objects.filter(pk=row.pk).update(created_at=fields["started_at"])
        return row
    fields.pop("commits")
    if not row.commits and story.plan:
        fields["commits"] = story.plan["commits"]
    # Queued: it was asked for in the admin, and has begun.
    open_ = (Deployment.Status.QUEUED, Deployment.Status.RUNNING)
    Deployment.objects.filter(pk=row.pk, status__in=open_).update(**fields)
    return row


def _fields(story: Story) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": story.kind,
        "status": Deployment.Status.RUNNING,
        "ref": story.ref[:250],
        "requested_by": story.requested_by[:150],
        "requested_from": story.requested_from[:200],
        "override": story.override[:300],
        "started_at": datetime.fromisoformat(story.started_at),
        "commits": [],
        "warnings": [_text(warning) for warning in story.warnings],
        "bake": story.bake,
        "migrations": (story.intents.get("preflight") or {}).get("migrations") or [],
    }
    if story.swapped_at:
        fields["swapped_at"] = datetime.fromisoformat(story.swapped_at)
    if plan := story.plan:
        fields |= {
            "release": _release(story),
            "previous_release": Release.objects.filter(sha=plan["live_release"]).first(),
            "color": plan["candidate"],
            "commits": plan["commits"],
            "commits_total": plan["commits_total"],
        }
    if ended := story.ended:
        fields |= {
            "status": ended["status"],
            "exit_code": ended["exit_code"],
            "finished_at": datetime.fromisoformat(ended["time"]),
            "warnings": [_text(warning) for warning in ended["warnings"]],
            "error": _text(ended["error"]),
            "traffic": ended["traffic"][:300],
            "next": ended["next"][:300],
        }
    return fields


def _step_fields(step: StepStory) -> dict[str, Any]:
    finished = step.finished_at
    return {
        "name": step.name,
        "status": step.status,
        "started_at": datetime.fromisoformat(step.started_at),
        "finished_at": datetime.fromisoformat(finished) if finished else None,
        "summary": _text(step.summary)[:300],
        "output": _text(step.output),
    }


def _release(story: Story) -> Release:
    assert story.plan is not None
    commit = story.plan["commit"]
    release, _ = Release.objects.get_or_create(
        sha=commit["sha"],
        defaults={
            "subject": commit["subject"][:200],
            "author": commit["author"][:200],
            "committed_at": datetime.fromisoformat(commit["committed_at"]),
        },
    )
    known = (story.intents.get("preflight") or {}).get("known")
    learned = {"image": story.image[:80], "migrations": known}
    news = {k: v for k, v in learned.items() if v and getattr(release, k) != v}
    if news:
        Release.objects.filter(pk=release.pk).update(**news)
    return release


def _text(text: str) -> str:
    # Postgres has no NUL in text.
    return text.replace("\x00", "")


def _set_deadline() -> None:
    # A lock that somebody holds in these tables must not hold up a deployment.
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{int(WRITE_SECONDS)}s'")


class Writer:
    """Writes a story's rows in a thread of its own: a Postgres that is away, or hangs without a
    word, holds nobody up for longer than WRITE_SECONDS once, and nothing after that."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.behind = False
        self._jobs: SimpleQueue[tuple[Callable[[], int], Event]] = SimpleQueue()
        self._busy = False
        self._saved: dict[str, StepStory] = {}
        Thread(target=self._work, daemon=True, name="history").start()

    def write(self, story: Story, *, patience: float = 0.0) -> None:
        """Save the story; `behind` tells whether the rows are not yet what it says.

        Args:
            patience: seconds to try again and again for.
        """
        deadline = monotonic() + patience
        while True:
            if not (self._busy and self.behind and monotonic() >= deadline):
                wait = max(0.1 if self.behind else WRITE_SECONDS, deadline - monotonic())
                self._save(copy.deepcopy(story), wait)
            if not self.behind or monotonic() >= deadline:
                return
            sleep(RETRY_SECONDS)

    def _save(self, story: Story, seconds: float) -> None:
        done, saved = Event(), []

        def job() -> int:
            number = save(story, saved=self._saved)
            self._saved = story.steps
            saved.append(number)
            return number

        self._busy = True
        self._jobs.put((job, done))
        done.wait(seconds)
        self.behind = not saved
        if saved:
            self.number = saved[0]

    def _work(self) -> None:
        while True:
            try:
                job, done = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                connection.close()
                continue
            try:
                _twice(job)
            except Exception as error:
                connection.close()
                # The story is whole in the journal, and is tried again with its next line.
                logger.debug("the history is behind: %s", error)
            finally:
                self._busy = not self._jobs.empty()
                done.set()


def _twice(job: Callable[[], int]) -> None:
    try:
        job()
    except DatabaseError:
        # A connection that broke (a restart of Postgres) is replaced once.
        connection.close()
        job()
