"""A job's process: in a group of its own, with a deadline, its last lines kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

from apps.ops.redact import Redactor

TAIL_LINES = 200
LINE_BYTES = 2000
# Between being asked to end and being killed.
GRACE_SECONDS = 10.0
# So long the dead are waited for: one that waits for a disk may never die.
DEATH_SECONDS = 2.0
# In the environment of a job and of all that it starts: what a session of its own takes out of the
# job's group is found by it.
MARK = "CHANGEOVER_JOB"


class Child:
    """A command that runs. Whoever has it asks `poll` every now and then, which also ends it.

    Args:
        lock: a descriptor that it inherits: a lock on it lasts as long as it lives, also when the
            agent is killed.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self, argv: Sequence[str], *, seconds: float, cwd: Path, lock: int, redactor: Redactor
    ) -> None:
        self._redactor = redactor
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._deadline = monotonic() + seconds
        self._kill_at: float | None = None
        self.timed_out = False
        job = uuid.uuid4().hex
        self._mark = f"{MARK}={job}".encode()
        # The agent's own environment names whoever deployed last.
        who = {"OPS_REQUESTED_BY": "the agent", "OPS_REQUESTED_FROM": ""}
        self._process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **who, MARK: job},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
        self._reader = Thread(target=self._read, daemon=True, name=f"output of {argv[0]}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""
        now = monotonic()
        if (code := self._process.poll()) is not None:
            # What it started goes with it, and lets go of the output.
            self._kill()
            self._reader.join(timeout=2.0)
            return code
        if self._kill_at is None and now > self._deadline:
            self.timed_out = True
            self.end()
        elif self._kill_at is not None and now > self._kill_at:
            self._kill()
        return None

    def end(self) -> None:
        """SIGTERM to it and all that it started; SIGKILL after GRACE_SECONDS."""
        if self._kill_at is None:
            self._kill_at = monotonic() + GRACE_SECONDS
            self._signal(signal.SIGTERM)

    def tail(self) -> str:
        """Its last lines, without secrets."""
        return self._redactor.clean("\n".join(self._tail))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _kill(self) -> None:
        """SIGKILL to it and all that it started, until none is left."""
        self._signal(signal.SIGKILL)
        deadline = monotonic() + DEATH_SECONDS
        while (pids := _marked(self._mark)) and monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            sleep(0.01)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while line := pipe.readline(LINE_BYTES):
                self._tail.append(line.decode(errors="replace").rstrip("\r\n"))


def _marked(mark: bytes) -> list[int]:
    """The processes that have this in their environment and that we may look into."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
