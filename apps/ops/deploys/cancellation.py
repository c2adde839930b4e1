"""What a signal means to a deployment that runs."""

from __future__ import annotations

import signal
from types import FrameType

from apps.ops import interrupts
from apps.ops.deploys.context import Deploy
from apps.ops.stack import engine_socket

AGAIN = "manage.py deploy   # when you like"


class EngineStopped(BaseException):
    """The engine ends and wants this to end: nothing can be undone or finished now, and it comes
    back no sooner. Whoever recovers what killed deployments left does that."""


class Cancellation:
    """Ctrl-C and SIGTERM, until `shield`: from then on they are noted and nothing more.

    A SIGTERM of an engine that stops is none of somebody who cancels: it leaves at once, always.
    """

    def __init__(self, context: Deploy) -> None:
        self._context = context
        self._shielded = False
        self._terminated = self._left = False
        self.noted = 0

    def shield(self) -> None:
        self._shielded = True

    def leave_if_stopped(self) -> None:
        """Raises EngineStopped when a SIGTERM came and the engine is gone."""
        if self._terminated and not self._left and engine_socket.is_silent(engine_socket.path()):
            self._left = True  # Said once: another one must not cut short the leaving.
            raise EngineStopped

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._left:
            return
        self._terminated |= number == signal.SIGTERM
        self.leave_if_stopped()
        if self._shielded or self._context.swapped_at:
            self.noted = number
            self._context.say("It is too late to cancel: finishing what was begun.")
            return
        self._shielded = True
        cancelled = interrupts.cancelled(number, next=AGAIN)
        if not self._context.is_whole:
            raise cancelled
        self._context.cancelled = cancelled
        self._context.say("Cancelling, when Compose has ended what it is in the middle of.")
