"""A deadline for what has none of its own: a name that is looked up, a server that drips."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic

LOOK_SECONDS = 0.2


def within[T](
    seconds: float, act: Callable[[], T], *, stop: Event | None = None, grace: float = 0.0
) -> T:
    """Do something in a thread of its own, and wait no longer than that for it.

    Past the deadline the thread is left behind; it is a daemon and holds up nobody's exit.

    Args:
        stop: once it is set, only `grace` seconds more are waited.

    Raises:
        TimeoutError: it has not come to its end.
        BaseException: whatever `act` raised.
    """
    outcomes: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            outcomes.put((act(), None))
        except BaseException as error:
            outcomes.put((None, error))

    Thread(target=work, daemon=True, name="within").start()
    deadline = monotonic() + seconds
    is_stopping = False
    while True:
        if stop and stop.is_set() and not is_stopping:
            is_stopping = True
            deadline = min(deadline, monotonic() + grace)
        left = deadline - monotonic()
        with suppress(Empty):
            result, error = outcomes.get(timeout=max(0.0, min(LOOK_SECONDS, left)))
            if error is not None:
                raise error
            return result  # type: ignore[return-value]  # act's own, without an error
        if left <= 0:
            raise TimeoutError
