"""Running other programs: never without a deadline, never leaving one behind."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import IO

from apps.ops.errors import StepFailed

Say = Callable[[str], None]

TAIL_LINES = 40
MAX_OUTPUT = 1_000_000
GRACE_SECONDS = 5.0
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class ProgramFailed(StepFailed):
    """A program ended with another code than 0, or was ended at its deadline.

    Attributes:
        code: its exit code; None when the deadline ended it or it could not be started.
    """

    def __init__(self, found: str, *, code: int | None, output: str = "", next: str = "") -> None:
        super().__init__(found, output=output, next=next)
        self.code = code


class TimedOut(ProgramFailed):
    """A program did not end by its deadline, and was ended."""


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    say: Say = lambda line: None,
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    owner: tuple[int, int] | None = None,
    merge_stderr: bool = True,
    grace_seconds: float = GRACE_SECONDS,
    max_output: float = MAX_OUTPUT,
) -> str:
    """Run a program to its end.

    It gets a session of its own, so that Ctrl-C at a terminal reaches us and not it: whether it
    ends is ours to decide.

    Args:
        seconds: after that long it and its children are killed.
        say: called with each line as it comes; without `merge_stderr`, with those of standard
            error only: standard output is then data.
        env: added to this process's environment.
        owner: user and group id to run as.
        merge_stderr: standard error is part of the output; without it, it is only kept for errors.
        grace_seconds: from being asked to end, at the deadline, to being killed.
        max_output: how many characters of its output are kept.

    Raises:
        ProgramFailed: it could not be started, or failed.
        TimedOut: it took longer than its deadline.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
            user=owner[0] if owner else None,
            group=owner[1] if owner else None,
            extra_groups=[] if owner else None,
        )
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"{argv[0]} could not be started: {error}", code=None) from error

    deadline = monotonic() + seconds
    output: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    errors: deque[str] = deque(maxlen=TAIL_LINES)
    size = 0
    try:
        for stream, line in _lines(process, deadline):
            shown = _as_shown(line)
            (errors if stream is process.stderr else tail).append(shown)
            if stream is process.stdout and (size := size + len(line)) <= max_output:
                output.append(line)
            if merge_stderr or stream is process.stderr:
                say(shown)
        code = process.wait(timeout=max(deadline - monotonic(), 0))
    except (TimeoutError, subprocess.TimeoutExpired):
        _end(process, grace_seconds)
        raise TimedOut(
            f"`{_short(argv)}` did not end within {seconds:g} s and was ended.",
            code=None,
            output="\n".join(errors or tail),
        ) from None
    except BaseException:
        _end(process, grace_seconds)
        raise
    finally:
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
    if code:
        raise ProgramFailed(
            f"`{_short(argv)}` ended with exit code {code}.",
            code=code,
            output="\n".join(errors or tail),
        )
    return "\n".join(output)


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[tuple[IO[bytes], str]]:
    """Each line of the program's outputs as it comes; TimeoutError at the deadline."""
    open_streams = [stream for stream in (process.stdout, process.stderr) if stream]
    begun = dict.fromkeys(open_streams, b"")
    with selectors.DefaultSelector() as selector:
        for opened in open_streams:
            selector.register(opened, selectors.EVENT_READ, data=opened)
        while begun:
            left = deadline - monotonic()
            ready = selector.select(timeout=max(left, 0))
            if left <= 0 or not ready:
                raise TimeoutError
            for key, _ in ready:
                stream: IO[bytes] = key.data
                chunk = os.read(key.fd, 65536)
                *lines, begun[stream] = (begun[stream] + chunk).split(b"\n")
                if not chunk:
                    lines = [rest] if (rest := begun.pop(stream)) else []
                    selector.unregister(stream)
                for line in lines:
                    yield stream, line.decode(errors="replace")


def _as_shown(line: str) -> str:
    # A progress bar rewrites its line: what stands at the end is what it says.
    return _ANSI.sub("", line).rstrip("\r").rpartition("\r")[2]


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End the program and whatever it started, also what outlived it."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = monotonic() + seconds
        while _group_lives(process) and monotonic() < deadline:
            sleep(0.02)
    process.poll()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # Until it is asked for, a dead child still counts as one of its group.
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _short(argv: Sequence[str]) -> str:
    words = " ".join(argv)
    return words if len(words) <= 100 else f"{words[:99]}…"
