"""What piles up: each part is removed by itself, so that one that fails keeps no other from it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any

from django.conf import settings as site
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Task

from apps.ops import postgres
from apps.ops.conf import OpsSettings
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.steps.prune import last_releases, remove_old_images
from apps.ops.edge.files import Edge
from apps.ops.errors import Busy, OpsError
from apps.ops.models import JobRun
from apps.ops.processes import Say
from apps.ops.requester import Requester
from apps.ops.stack.engine import Engine

RESULTS_KEPT = timedelta(days=90)
SCRATCH_KEPT_SECONDS = 86_400.0
SCRATCH = ("deploy-*", "recover-*")
BATCH = 5_000


def clean_up(settings: OpsSettings, *, say: Say) -> list[OpsError]:
    """Remove what is old.

    Args:
        say: told what was removed, a line a part.

    Returns:
        What went wrong: one for each part that failed.
    """
    parts: tuple[Callable[[OpsSettings, Say], str], ...] = (sessions, results, job_runs, left_over)
    failed = []
    for part in parts:
        try:
            say(part(settings, say))
        except DatabaseError as error:
            failed.append(postgres.away(error, without="What is old in it stays."))
        except OSError as error:
            failed.append(OpsError(f"What is old could not be removed: {error}.", next="df -h"))
        except OpsError as error:
            failed.append(error)
    return failed


def sessions(settings: OpsSettings, say: Say) -> str:
    import_module(site.SESSION_ENGINE).SessionStore.clear_expired()
    return "expired sessions removed"


def results(settings: OpsSettings, say: Say) -> str:
    """Of django-q2's tasks; it keeps failed ones for ever."""
    old = Task.objects.filter(stopped__lt=timezone.now() - RESULTS_KEPT)
    return f"{_delete(old)} old task results removed"


def job_runs(settings: OpsSettings, say: Say) -> str:
    removed = 0
    for job in list(JobRun.objects.order_by("job").values_list("job", flat=True).distinct()):
        its = JobRun.objects.filter(job=job).order_by("-due")
        last = its.values_list("due", flat=True)[settings.job_runs : settings.job_runs + 1].first()
        if last is not None:
            old = its.filter(due__lte=last).exclude(status=JobRun.Status.RUNNING)
            removed += _delete(old)
    return f"{removed} old runs of jobs removed"


def left_over(settings: OpsSettings, say: Say) -> str:
    """Images of old releases, and what killed deployments left in the scratch directory. Holding
    the deploy lock: nobody starts or builds what is removed here."""
    who = f"{Requester.now(settings).by} cleans up"
    try:
        with deploy_lock(settings.state_dir, holder=who, what="clean-up"):
            images = _old_images(settings, say)
            directories = sum(_remove(path) for path in _old_scratch())
    except Busy as error:
        return f"images stay until the next time. {error.found}"
    return f"{images} old images and {directories} left directories removed"


def _old_images(settings: OpsSettings, say: Say) -> int:
    engine = Engine(settings.project)
    live = engine.service(Edge(settings.edge_dir).live().service)
    if live is None or not live.release:
        return 0  # What serves is not known: nothing is old.
    keep = last_releases(live.release, count=settings.keep_releases) | engine.releases_in_use()
    return remove_old_images(engine, keep, say=say)


def _old_scratch() -> Iterator[Path]:
    for pattern in SCRATCH:
        for path in Path(tempfile.gettempdir()).glob(pattern):
            if path.is_dir() and time() - path.stat().st_mtime > SCRATCH_KEPT_SECONDS:
                yield path


def _remove(path: Path) -> int:
    shutil.rmtree(path)
    return 1


def _delete(old: QuerySet[Any]) -> int:
    """Delete batch after batch, so that no single statement takes long; how many there were."""
    removed = 0
    while numbers := list(old.values_list("pk", flat=True)[:BATCH]):
        # Of a task nothing else is read: its arguments and its result are pickles.
        removed += old.model.objects.filter(pk__in=numbers).only("pk").delete()[0]
    return removed
