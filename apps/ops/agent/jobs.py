"""Runs what the crontab wants: each time once, no job beside itself, none longer than its deadline.

What is due is written down before it runs. Killed in between, a run is lost and said to be; it is
never done twice.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apps.ops.agent.child import Child
from apps.ops.agent.crontab import MOST, Job
from apps.ops.agent.runs import Run, Runs, Status
from apps.ops.redact import Redactor

logger = logging.getLogger(__name__)

# Due longer ago than that, a run is missed: a backup of the night is not taken at noon. It is long
# enough for a restart of the agent.
LATE = timedelta(seconds=120)
# A clock that was set back by more than that begins anew; by less, what was due is waited for.
SET_BACK = timedelta(minutes=5)
AGENT = socket.gethostname()


@dataclass
class _Running:
    run: Run
    child: Child
    lock: int
    stopped: bool = False


class Jobs:
    """The jobs of one agent.

    Args:
        cwd: where commands run: the project.
    """

    def __init__(self, runs: Runs, *, cwd: Path) -> None:
        self._runs = runs
        self._cwd = cwd
        self._running: list[_Running] = []
        self._next: dict[str, datetime] = {}
        self._ticked = datetime.min.replace(tzinfo=UTC) + SET_BACK
        # For a disk that takes nothing: what was due is known at least until we end.
        self._remembered: dict[str, datetime] = {}
        self._jobs: tuple[Job, ...] = ()

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def use(self, jobs: tuple[Job, ...]) -> None:
        """Run these from now on. What runs goes on."""
        self._jobs = jobs
        self._next = {}
        with suppress(OSError), self._runs.claiming():
            self._runs.forget_all_but({job.command for job in jobs})

    def tick(self, now: datetime) -> None:
        """Start what is due."""
        if now < self._ticked - SET_BACK:
            self._next = {}
        self._ticked = now
        for job in self._jobs:
            due = self._next.get(job.command)
            if due is None or due <= now:
                self._take(job, now)

    def start(self, job: str, argv: list[str], *, due: datetime, seconds: float) -> bool:
        """Run a command now, unless it runs; whether it was started."""
        try:
            with self._runs.claiming():
                lock = self._lock(job)
                if lock is None:
                    return False
                self._forgive(lambda: self._runs.close_lost(job))
                run = self._running_one(job, due)
        except OSError as error:
            logger.error("%s was not started: %s", job, error)
            return False
        self._begin(run, argv, lock=lock, seconds=seconds)
        return True

    def poll(self) -> None:
        """Write down what has ended; end what is over its deadline."""
        for running in list(self._running):
            code = running.child.poll()
            if code is None:
                continue
            self._running.remove(running)
            self._end(running, code)

    def stop(self) -> None:
        """Ask all that runs to end."""
        for running in self._running:
            if not running.stopped:
                running.stopped = True
                running.child.end()

    def _take(self, job: Job, now: datetime) -> None:
        run, lock, seconds = None, None, 0.0
        try:
            with self._runs.claiming():
                last = self._last_due(job.command)
                if last is None or last - now > SET_BACK:
                    # New: it begins with what is due from now on.
                    last = now
                    self._set_last_due(job.command, now)
                due = job.due(last, now)
                if due:
                    newest, seconds = due[-1]
                    lock = self._lock(job.command)
                    run = self._intend(job.command, [at for at, _ in due], lock, now)
                    # After what is to be said of it: killed in between, it is taken once more.
                    # Before it runs: killed in between, it is lost and never taken again.
                    self._set_last_due(job.command, newest if _in_time(newest, now) else now)
        except OSError as error:
            # Another agent keeps what is needed: the next tick tries again.
            logger.error("%s was not looked at: %s", job.command, error)
            return
        self._next[job.command] = job.next(max(last, now)) or now + timedelta(hours=12)
        if lock is not None:
            if run is not None:
                self._begin(run, job.argv, lock=lock, seconds=seconds)
            else:
                os.close(lock)

    def _intend(self, job: str, due: list[datetime], lock: int | None, now: datetime) -> Run | None:
        """Write down what becomes of all that was due; what is to run now."""
        if lock is not None:
            self._forgive(lambda: self._runs.close_lost(job))
        newest = due[-1]
        in_time = _in_time(newest, now)
        self._say_missed(job, due[:-1] if in_time else due)
        if not in_time:
            return None
        if lock is None:
            logger.warning("%s was due and skipped: the run before it has not ended", job)
            self._note(job, newest, Status.SKIPPED, "The run before it had not ended; it goes on.")
            return None
        return self._running_one(job, newest)

    def _say_missed(self, job: str, missed: list[datetime]) -> None:
        if not missed:
            return
        times = f"{missed[0]:%Y-%m-%d %H:%M} to {missed[-1]:%Y-%m-%d %H:%M} UTC"
        many = (
            f"{'more than ' if len(missed) >= MOST else ''}{len(missed)} runs were missed, {times}"
        )
        one = f"1 run was missed, {missed[0]:%Y-%m-%d %H:%M} UTC"
        said = f"{one if len(missed) == 1 else many}: nobody was there to run it."
        logger.warning("%s: %s", job, said)
        self._note(job, missed[-1], Status.MISSED, said)

    def _note(self, job: str, due: datetime, status: Status, output: str) -> None:
        now = datetime.now(UTC).isoformat()
        run = Run(
            job=job,
            due=due.isoformat(),
            status=status.value,
            agent=AGENT,
            finished_at=now,
            output=output,
        )
        self._forgive(lambda: self._runs.save(run))

    def _running_one(self, job: str, due: datetime) -> Run:
        run = Run(
            job=job,
            due=due.isoformat(),
            status=Status.RUNNING.value,
            agent=AGENT,
            started_at=datetime.now(UTC).isoformat(),
        )
        # A disk that takes nothing is what a health check must be able to tell of.
        self._forgive(lambda: self._runs.save(run))
        return run

    def _begin(self, run: Run, argv: list[str], *, lock: int, seconds: float) -> None:
        try:
            # An agent lives for months, and `.env` changes meanwhile.
            redactor = Redactor.from_environment()
            child = Child(argv, seconds=seconds, cwd=self._cwd, lock=lock, redactor=redactor)
        except (OSError, ValueError) as error:
            failed = replace(
                run,
                status=Status.FAILED.value,
                finished_at=datetime.now(UTC).isoformat(),
                output=f"It could not be started: {error}",
            )
            logger.error("%s could not be started: %s", run.job, error)
            self._forgive(lambda: self._runs.save(failed))
            os.close(lock)
            return
        self._running.append(_Running(run, child, lock))

    def _end(self, running: _Running, code: int) -> None:
        output, child = running.child.tail(), running.child
        if child.timed_out:
            status = Status.TIMED_OUT
        else:
            status = Status.SUCCEEDED if code == 0 else Status.FAILED
        if running.stopped and code:
            output += "\nThe agent was stopped, and ended it."
        run = replace(
            running.run,
            status=status.value,
            finished_at=datetime.now(UTC).isoformat(),
            exit_code=code,
            output=output.lstrip("\n"),
        )
        if code or child.timed_out:
            logger.warning("%s: %s (exit code %s)", run.job, run.status, code)
        # Before the lock is let go of: a free one with a run that claims to run means it was lost.
        self._forgive(lambda: self._runs.save(run))
        os.close(running.lock)

    def _lock(self, job: str) -> int | None:
        # On a disk that takes nothing there is no lock to tell us.
        if any(running.run.job == job for running in self._running):
            return None
        return self._runs.lock(job)

    def _last_due(self, job: str) -> datetime | None:
        known = (self._runs.last_due(job), self._remembered.get(job))
        return max(filter(None, known), default=None)

    def _set_last_due(self, job: str, due: datetime) -> None:
        self._remembered[job] = due
        self._forgive(lambda: self._runs.set_last_due(job, due))

    @staticmethod
    def _forgive(write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            logger.error("what a job does cannot be written down: %s", error)


def _in_time(due: datetime, now: datetime) -> bool:
    return now - due <= LATE
