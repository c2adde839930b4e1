"""Whether the history in Postgres has what the journal on the disk tells."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from apps.ops.conf import OpsSettings
from apps.ops.deploys import journal
from apps.ops.deploys.lock import held_by
from apps.ops.models import Deployment

JournalFiles = dict[str, tuple[int, int]]


def journal_files(state_dir: Path) -> JournalFiles:
    """What changes whenever a deployment writes something down."""
    found = (state_dir / journal.DIRECTORY).glob("*.jsonl")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


class History:
    """Whether the history lacks what the journal tells."""

    def __init__(self, settings: OpsSettings) -> None:
        self._state_dir = settings.state_dir
        self._patience = timedelta(seconds=settings.recover_after_seconds)
        self._complete: JournalFiles | None = None

    def is_behind(self) -> bool:
        """Also when a deployment is in it that runs no more.

        Raises:
            DatabaseError: Postgres does not answer.
        """
        old = timezone.now() - self._patience
        runs = Deployment.objects.filter(
            status=Deployment.Status.RUNNING, started_at__lt=old
        ).exists()
        files = journal_files(self._state_dir)
        if files == self._complete and not runs:
            return False
        told = {s.uid for s in journal.stories(self._state_dir) if s.ended and s.started_at}
        known = Deployment.objects.filter(uid__in=told, status__in=Deployment.TERMINAL).count()
        if known == len(told):
            self._complete = files
        # Last: what ended meanwhile has written its last word before it let go of the lock.
        return (runs or known < len(told)) and held_by(self._state_dir) is None
