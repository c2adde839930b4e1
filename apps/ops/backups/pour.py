"""Running a program whose output is a backup."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import IO, Protocol, cast

from apps.ops.backups import files


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def pour(
    argv: Sequence[str],
    out: Sink,
    *,
    deadline: float,
    env: Mapping[str, str],
    stdin: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int | None, str]:
    """Run a program and write its output into `out`.

    Args:
        deadline: in monotonic seconds; then it is ended, with all that it started.

    Returns:
        Its exit code, None when it was ended; and what it said on stderr.

    Raises:
        OSError: it could not be started, or what it gave not be written.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(env),
            pass_fds=pass_fds,
            start_new_session=True,
        )
        try:
            for chunk in _chunks(process, deadline):
                out.write(chunk)
            code: int | None = process.wait(timeout=max(deadline - monotonic(), 1))
        except (TimeoutError, subprocess.TimeoutExpired):
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            cast("IO[bytes]", process.stdout).close()
        errors.seek(0)
        return code, errors.read().decode(errors="replace").strip()


def _chunks(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    stdout = cast("IO[bytes]", process.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - monotonic()
            if left <= 0 or not selector.select(timeout=left):
                raise TimeoutError
            chunk = os.read(stdout.fileno(), files.CHUNK)
            if not chunk:
                return
            yield chunk
