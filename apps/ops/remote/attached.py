"""A command that ends when its terminal does: its input and output are this one's."""

from __future__ import annotations

import os
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from apps.ops.redact import Redactor
from apps.ops.remote import commands
from apps.ops.remote.connection import Completed, Connection, Size

CAPTURED_SECONDS = 120.0


def size() -> Size:
    return Size(*shutil.get_terminal_size())


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def run(connection: Connection, argv: Sequence[str], *, by: str) -> int:
    """Run a management command with this process's input and output; it ends with the link.

    Returns:
        Its exit code.

    Raises:
        RemoteFailed: the link was lost.
    """
    terminal = is_terminal()
    name = commands.new_name("attached")
    words = commands.attached(connection.server.directory, argv, name=name, by=by, tty=terminal)
    if terminal:
        with _raw():
            return connection.stream(
                words,
                on_stdout=_to(1),
                on_stderr=_to(2),
                tty=size,
                stdin=sys.stdin.fileno(),
            )
    # A terminal's keys are for whoever else reads it (`| less`).
    stdin = None if sys.stdin.isatty() else sys.stdin.fileno()
    errors = _Errors()
    try:
        return connection.stream(words, on_stdout=_to(1), on_stderr=errors.feed, stdin=stdin)
    finally:
        errors.end()


def capture(connection: Connection, argv: Sequence[str], *, by: str) -> Completed:
    """Run a management command and keep what it writes.

    Raises:
        RemoteFailed: the link was lost, or it took longer than CAPTURED_SECONDS.
    """
    name = commands.new_name("attached")
    words = commands.attached(connection.server.directory, argv, name=name, by=by, tty=False)
    return connection.run(words, seconds=CAPTURED_SECONDS)


def _to(descriptor: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write


class _Errors:
    """Standard error, line by line without what Compose quotes of the server's `.env`."""

    def __init__(self) -> None:
        self._begun = b""
        self._clean = Redactor.from_environment().clean
        self._write = _to(2)

    def feed(self, data: bytes) -> None:
        whole, end, self._begun = (self._begun + data).rpartition(b"\n")
        if end:
            self._write(
                self._clean(whole.decode(errors="surrogateescape") + "\n").encode(
                    errors="surrogateescape"
                )
            )

    def end(self) -> None:
        if self._begun:
            self.feed(b"\n")


@contextmanager
def _raw() -> Iterator[None]:
    """Each key goes to the server as it is, Ctrl-C too."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
