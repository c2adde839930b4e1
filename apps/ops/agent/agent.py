"""The agent: what the utility service does all day, and the jobs service.

The one beside Docker's socket runs the crontab's lines of ops commands, starts what is asked for in
the admin and recovers what was killed. The other one runs the site's lines, and nothing else.

The loop runs the crontab and beats, and waits for nobody. What needs Postgres or Docker is done in
threads of its own, because either can hang.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic
from types import FrameType

from django.conf import settings as site
from django.db import Error, connection, connections

from apps.ops import freezes
from apps.ops.agent import crontab
from apps.ops.agent.hearing import DEAF_SECONDS, Hearing
from apps.ops.agent.history import History, JournalFiles, journal_files
from apps.ops.agent.jobs import AGENT, Jobs
from apps.ops.agent.jobs_service import JobsService
from apps.ops.agent.requests import Requests
from apps.ops.agent.runs import Runs
from apps.ops.conf import OpsSettings
from apps.ops.deploys import recovery
from apps.ops.deploys.context import compose_on
from apps.ops.deploys.lock import held_by
from apps.ops.edge import follow as edge
from apps.ops.errors import OpsError
from apps.ops.source import Checkout
from apps.ops.stack import engine_socket
from apps.ops.stack.engine import Engine

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0
LOOK_SECONDS = 2.0
RECOVER_SECONDS = 30.0
TIDY_SECONDS = 10.0
# What cannot be fixed now is tried more and more rarely.
RECOVER_AT_MOST_SECONDS = 900.0
# The utility service's stop_grace_period is 300 s: time to end the jobs and say so is left.
STOP_SECONDS = 270.0
LAST_WORD_SECONDS = 5.0
RECOVER = "manage.py recover"
JOBS = "jobs"


class Agent:
    """One agent.

    Args:
        root: the project: where jobs run, and what the crontab's path is relative to.
        role: `utility` has the socket and runs the ops commands of the crontab, `jobs` runs the
            others; one in no container of the stack runs all of them.
        stop_seconds: how long jobs may go on after SIGTERM.
        deaf_seconds: after so long without any engine at its socket it ends, to be started anew.
    """

    def __init__(
        self,
        settings: OpsSettings,
        *,
        root: Path,
        role: str = "",
        command: tuple[str, ...] = ("python", "manage.py"),
        stop_seconds: float = STOP_SECONDS,
        deaf_seconds: float = DEAF_SECONDS,
    ) -> None:
        self._settings = settings
        self._root = root
        self._stop_seconds = stop_seconds
        self._role = role
        self._runs = Runs(settings.state_dir, mine=self._runs_here)
        self._jobs = Jobs(self._runs, cwd=root)
        self._requests = Requests(settings, command=command)
        self._crontab = crontab.path_of(settings, root)
        self._socket = None if role == JOBS else engine_socket.path()
        self._hearing = Hearing(self._socket, seconds=deaf_seconds)
        self._read_at: tuple[int, int] | None = None
        self._stop_signals = 0
        self._woken = Event()
        self._ended = Event()
        self._history_is_behind = Event()
        self._recover_at = 0.0
        # The journal's files when nothing was left behind: they need not be read again.
        self._in_order: JournalFiles | None = None
        self._recover_pause = RECOVER_SECONDS

    def run(self) -> None:
        """Until SIGTERM or SIGINT; then what runs is waited for, and ended when it takes too long.
        A second signal ends it at once. It also ends, between two jobs, when Docker's socket is
        dead: its container is started anew, with the one that is there now."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # A Postgres that went away without a word must not hold a thread for a quarter of an hour.
        connections.settings["default"]["OPTIONS"] |= {"tcp_user_timeout": 10_000}
        logger.info("the agent runs in %s", AGENT)
        writer = self._thread("history", self._runs.bring_in)
        if self._role != JOBS:
            self._thread("requests", self._look())
        if self._role == "utility":
            service = JobsService(self._settings, release=site.RELEASE)
            self._thread("the jobs service", service.look)
            Thread(target=self._follow, daemon=True, name="edge").start()
        while not self._stop_signals:
            self._beat()
            self._load()
            self._jobs.tick(datetime.now(UTC))
            self._jobs.poll()
            if self._role != JOBS:
                self._recover()
            if not self._jobs.busy and self._hearing.is_lost():
                logger.error("Docker was started anew and cannot be reached from here: ending")
                break
            self._woken.wait(TURN_SECONDS)
        self._wind_down()
        self._ended.set()
        writer.join(LAST_WORD_SECONDS)
        logger.info("the agent has stopped")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_signals += 1
        self._woken.set()

    def _wind_down(self) -> None:
        # With an engine that stops, the whole site waits until this has ended.
        patience = 0.0 if engine_socket.is_silent(self._socket) else self._stop_seconds
        if self._jobs.busy:
            logger.info("stopping: what runs is waited for, for %g s", patience)
        deadline = monotonic() + patience
        while self._jobs.busy:
            self._beat()
            if self._stop_signals > 1 or monotonic() > deadline:
                self._jobs.stop()
            self._jobs.poll()
            self._ended.wait(0.1)

    def _beat(self) -> None:
        path = self._runs.directory / "heartbeat"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            logger.error("the heartbeat cannot be written: %s", error)

    def _load(self) -> None:
        """Read the crontab when it is new or changed."""
        try:
            stat = self._crontab.stat()
            now = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            now = (0, 0)
        if now == self._read_at:
            return
        self._read_at = now
        found = crontab.of(self._settings, self._root)
        for problem in found.problems:
            logger.error("%s: %s; the other lines count", self._crontab, problem)
        mine = tuple(job for job in found.jobs if self._runs_here(job.command))
        logger.info("%s: %d of %d jobs run here", self._crontab, len(mine), len(found.jobs))
        self._jobs.use(mine)

    def _runs_here(self, command: str) -> bool:
        return self._role not in ("utility", JOBS) or crontab.is_own(command) != (
            self._role == JOBS
        )

    def _recover(self) -> None:
        """Have what a dead deployment left put in order, by a child: it takes its time."""
        if monotonic() < self._recover_at:
            return
        self._recover_at = monotonic() + RECOVER_SECONDS
        if not (self._left_behind() or self._history_is_behind.is_set()):
            self._recover_pause = RECOVER_SECONDS
            return
        self._history_is_behind.clear()
        argv = [sys.executable, "manage.py", "recover"]
        now = datetime.now(UTC)
        if self._jobs.start(RECOVER, argv, due=now, seconds=self._settings.job_seconds):
            logger.warning("a deployment was left behind, or is not in the history: recovering")
            self._recover_at = monotonic() + self._recover_pause
            self._recover_pause = min(self._recover_pause * 2, RECOVER_AT_MOST_SECONDS)

    def _left_behind(self) -> bool:
        state_dir = self._settings.state_dir
        try:
            files = journal_files(state_dir)
            if files == self._in_order:
                return False
            left = recovery.left_behind(self._settings)
            if not left:
                self._in_order = files
        except (OSError, ValueError) as error:
            logger.error("the journal cannot be read: %s", error)
            return False
        # One that has just begun is not taken for one that was left behind.
        old = datetime.now(UTC) - timedelta(seconds=self._settings.recover_after_seconds)
        return any(datetime.fromisoformat(s.started_at) < old for s in left) and (
            held_by(state_dir) is None
        )

    def _follow(self) -> None:
        """A deployment whose code was older than this did not see to it."""
        ops = self._settings
        if not ops.caddy_admin.exists():
            return
        checkout = Checkout(ops.checkout, remote=ops.remote, branch=ops.branch)
        try:
            with TemporaryDirectory() as scratch:
                compose = compose_on(None, settings=ops, checkout=checkout, scratch=Path(scratch))
                done = edge.follow(ops, Engine(ops.project), compose, say=logger.info)
            logger.info("%s", done)
        except OpsError as error:
            logger.error("%s Next: %s", error.found, error.next)

    def _look(self) -> Callable[[], object]:
        tidy_at = recovery_at = monotonic()
        history = History(self._settings)

        def look() -> None:
            nonlocal tidy_at, recovery_at
            self._requests.look()
            if monotonic() >= recovery_at:
                recovery_at = monotonic() + RECOVER_SECONDS
                freezes.in_force(self._settings.state_dir)
                freezes.publish(self._settings.state_dir)
                if history.is_behind():
                    self._history_is_behind.set()
            if monotonic() >= tidy_at:
                tidy_at = monotonic() + TIDY_SECONDS
                self._requests.tidy()

        return look

    def _thread(self, name: str, act: Callable[[], object]) -> Thread:
        """Do something every LOOK_SECONDS and once more at the end, whatever it raises."""

        def work() -> None:
            said = ""
            while True:
                last = self._ended.wait(LOOK_SECONDS)
                try:
                    # Nothing is started any more when it stops.
                    if name == "history" or not self._stop_signals:
                        act()
                    said = ""
                except Exception as error:
                    found = (str(error).strip() or type(error).__name__).splitlines()[0]
                    if found != said:  # Once, and not every two seconds.
                        logger.error("%s: %s", name, found)
                    said = found
                    if isinstance(error, Error):
                        connection.close()
                if last:
                    connection.close()
                    return

        thread = Thread(target=work, daemon=True, name=name)
        thread.start()
        return thread


def service_of(job: crontab.Job) -> str:
    """The service that runs it."""
    return "utility" if job.is_own else JOBS


def described(found: crontab.Crontab) -> dict[str, object]:
    """What is due when next, and what does not count."""
    now = datetime.now(UTC)
    jobs = []
    for job in found.jobs:
        due = job.next(now)
        jobs.append(
            {
                "job": job.command,
                "service": service_of(job),
                "next": due.isoformat() if due else None,
            }
        )
    return {"jobs": jobs, "problems": [str(problem) for problem in found.problems]}
