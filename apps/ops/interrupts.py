"""Ctrl-C, SIGTERM and SIGHUP as an error like every other: found, said, with an exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from apps.ops.errors import Cancelled

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling_signals(handler: Handler) -> Iterator[None]:
    """Let a handler have Ctrl-C, SIGTERM and SIGHUP for as long as this lasts."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in signals]
    try:
        yield
    finally:
        for number, old in zip(signals, before, strict=True):
            signal.signal(number, old)


def cancelled(number: int, *, next: str) -> Cancelled:
    """What a signal means.

    Args:
        next: what to type after that.
    """
    return Cancelled(f"Cancelled ({signal.Signals(number).name}).", next=next)


class Cancellation:
    """A handler that raises Cancelled, until `shield`: what was begun then comes to its end."""

    def __init__(self, next: str) -> None:
        self._next = next
        self._shielded = False

    def shield(self) -> None:
        self._shielded = True

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        if not self._shielded:
            # A second one must not cut short what the first one cleans up.
            self._shielded = True
            raise cancelled(number, next=self._next)


@contextmanager
def cancellable(*, next: str) -> Iterator[Cancellation]:
    """Raise Cancelled, once, when a signal comes.

    Args:
        next: what to type after that.
    """
    cancellation = Cancellation(next)
    with handling_signals(cancellation):
        yield cancellation
