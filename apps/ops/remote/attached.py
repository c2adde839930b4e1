"""A command that ends when its terminal does: its input and output are this one's."""

from __future__ import annotations

import shutil
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from apps.ops.output import Relay
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
    # A terminal's keys are for whoever else reads it (`| less`).
    piped = None if sys.stdin.isatty() else sys.stdin.fileno()
    out, err = Relay(1), Relay(2, lines=not terminal)
    try:
        with _raw() if terminal else nullcontext():
            return connection.stream(
                words,
                on_stdout=out.feed,
                on_stderr=err.feed,
                tty=size if terminal else None,
                stdin=sys.stdin.fileno() if terminal else piped,
            )
    finally:
        out.end()
        err.end()


def capture(connection: Connection, argv: Sequence[str], *, by: str) -> Completed:
    """Run a management command and keep what it writes.

    Raises:
        RemoteFailed: the link was lost, or it took longer than CAPTURED_SECONDS.
    """
    name = commands.new_name("attached")
    words = commands.attached(connection.server.directory, argv, name=name, by=by, tty=False)
    return connection.run(words, seconds=CAPTURED_SECONDS)


@contextmanager
def _raw() -> Iterator[None]:
    """Each key goes to the server as it is, Ctrl-C too."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
