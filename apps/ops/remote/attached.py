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
                on_stdout=_cleaned_to(1),
                on_stderr=_cleaned_to(2),
                tty=size,
                stdin=sys.stdin.fileno(),
            )
    # A terminal's keys are for whoever else reads it (`| less`).
    stdin = None if sys.stdin.isatty() else sys.stdin.fileno()
    return connection.stream(words, on_stdout=_to(1), on_stderr=_cleaned_to(2), stdin=stdin)


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


def _cleaned_to(descriptor: int) -> Callable[[bytes], None]:
    """Without what Compose quotes of the server's `.env`; it writes that in one piece."""
    write, clean = _to(descriptor), Redactor.from_environment().clean

    def write_cleaned(data: bytes) -> None:
        text = clean(data.decode(errors="surrogateescape"))
        write(text.encode(errors="surrogateescape"))

    return write_cleaned


@contextmanager
def _raw() -> Iterator[None]:
    """Each key goes to the server as it is, Ctrl-C too."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
