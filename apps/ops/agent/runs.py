"""What jobs did, on the disk first: one small file a run, gone when Postgres has its row.

Jobs run with Postgres down, and what they did is brought in when it is back. What decides whether
something runs is here, too: when each job was last due, and a lock for each job that the kernel
frees when everybody who runs it is dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from django.db import transaction

from apps.ops import durable
from apps.ops.agent.crontab import is_own
from apps.ops.models import JobRun

DIRECTORY = "agent"
CLAIM_SECONDS = 5.0
Status = JobRun.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job, as its row has it. Times are ISO 8601, in UTC."""

    job: str
    due: str
    status: str
    agent: str
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    output: str = ""


class Runs:
    """The files of one state directory, which every agent on it shares.

    Args:
        mine: which commands are run by these agents; the rows of others are theirs to close.

    Raises (every method):
        OSError: the disk is full, or the volume is not there.
    """

    def __init__(self, state_dir: Path, *, mine: Callable[[str], bool] = lambda job: True) -> None:
        self._mine = mine
        self.directory = state_dir / DIRECTORY
        self._jobs = self.directory / "jobs"
        self._runs = self.directory / "runs"

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Alone among all agents, for as long as it takes to look and to write down.

        Raises:
            TimeoutError: another agent has it and does not let go.
        """
        descriptor = _open_lock(self._jobs / "claim.lock")
        try:
            deadline = monotonic() + CLAIM_SECONDS
            while not _lock(descriptor):
                if monotonic() > deadline:
                    raise TimeoutError("another agent keeps the claim lock")
                sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def last_due(self, job: str) -> datetime | None:
        """When a job was last due, whatever became of it; None for a new one."""
        try:
            return datetime.fromisoformat(json.loads(self._due_path(job).read_text())["due"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def set_last_due(self, job: str, due: datetime) -> None:
        """It is on the disk when this returns: that time is never run again."""
        _write(self._due_path(job), {"job": job, "due": due.isoformat()})

    def forget_all_but(self, jobs: set[str]) -> None:
        """Jobs that left the crontab begin anew when they come back."""
        keep = {self._due_path(job) for job in jobs}
        for path in self._jobs.glob("*.json"):
            if path not in keep:
                path.unlink(missing_ok=True)

    def lock(self, job: str) -> int | None:
        """Take a job's lock: its descriptor; None when the job runs. Whoever inherits it has it.

        On a disk that takes no file it is free: whoever holds it must know what runs."""
        descriptor = _open_lock(self._jobs / f"{_key(job)}.lock")
        if _lock(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def save(self, run: Run) -> None:
        _write(self._path(run), asdict(run))

    def files(self) -> list[Path]:
        return sorted(self._runs.glob("*.json"))

    def close_lost(self, job: str) -> None:
        """Say of a job's runs that still claim to run that they were lost. Only for the holder of
        its lock, before it starts one."""
        for path in self._runs.glob(f"{_key(job)}-*.json"):
            if (run := _read(path)) and run.status == Status.RUNNING:
                self.save(_lost(run))

    def bring_in(self) -> int:
        """Make the rows what the files say; how many ended runs it was.

        Raises:
            DatabaseError: Postgres is away.
        """
        brought = 0
        for path in self.files():
            run = self._settled(path)
            if run is None:
                continue
            _save_row(run)
            if run.status != Status.RUNNING:
                # On a disk that takes nothing, it is brought in again; the rows are the same.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                brought += 1
        self._close_rows()
        return brought

    def _settled(self, path: Path) -> Run | None:
        """What a file says; a run whose job nobody runs any more is lost."""
        run = _read(path)
        if run is None or run.status != Status.RUNNING:
            return run
        with self.claiming():
            descriptor = self.lock(run.job)
            if descriptor is None:
                return run
            try:
                # Read again: it can have ended in between.
                run = _read(path)
                if run and run.status == Status.RUNNING:
                    run = _lost(run)
                    with suppress(OSError):
                        self.save(run)
            finally:
                os.close(descriptor)
        return run

    def _close_rows(self) -> None:
        """Rows that still claim to run, and have no file: the state volume was lost."""
        for row in JobRun.objects.filter(status=Status.RUNNING):
            if not self._mine(row.job):
                continue
            run = Run(job=row.job, due=row.due.isoformat(), status=row.status, agent=row.agent)
            if self._path(run).exists():
                continue
            # Its file goes when its row has ended: look at the row again after the file.
            JobRun.objects.filter(pk=row.pk, status=Status.RUNNING).update(
                status=Status.LOST, finished_at=datetime.now(UTC)
            )

    def _due_path(self, job: str) -> Path:
        return self._jobs / f"{_key(job)}.json"

    def _path(self, run: Run) -> Path:
        due = datetime.fromisoformat(run.due).astimezone(UTC)
        return self._runs / f"{_key(run.job)}-{due:%Y%m%dT%H%M%S.%f}.json"


def _save_row(run: Run) -> None:
    fields = asdict(run) | {"agent": run.agent[:100], "by_operations": is_own(run.job)}
    # Postgres has no NUL in text.
    fields["output"] = run.output.replace("\x00", "")
    for name in ("due", "started_at", "finished_at"):
        fields[name] = datetime.fromisoformat(fields[name]) if fields[name] else None
    key = {"job": fields.pop("job"), "due": fields.pop("due")}
    with transaction.atomic():
        row, created = JobRun.objects.get_or_create(**key, defaults=fields)
        if not created:
            # What was given up for lost before it began is taken once more.
            open_ = (Status.RUNNING, Status.LOST)
            JobRun.objects.filter(pk=row.pk, status__in=open_).update(**fields)


def _lost(run: Run) -> Run:
    return replace(
        run,
        status=Status.LOST.value,
        finished_at=datetime.now(UTC).isoformat(),
        output="The agent died while it ran: how it ended is not known.",
    )


def _key(job: str) -> str:
    # Readable, and different for commands that differ in a space only.
    words = re.sub(r"[^a-z0-9]+", "-", job.lower()).strip("-")[:40]
    return f"{words}-{hashlib.sha256(job.encode()).hexdigest()[:12]}"


def _open_lock(path: Path) -> int:
    """A lock file's descriptor; on a disk that takes no file, one of a file that nobody else has:
    the alarms must go out then, too."""
    try:
        # Reading is enough for a lock, and a disk that can only be read lets us.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        pass
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return os.memfd_create(path.name[-100:], os.MFD_CLOEXEC)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Run | None:
    try:
        return Run(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, record: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, json.dumps(record))
