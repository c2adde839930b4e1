"""Deadlines for what has none of its own: a name that is looked up, a server that drips, a check.

What is late is left behind in a daemon thread: it holds up nobody, nor the process's end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic

from django.db import connections

LOOK_SECONDS = 0.2


def within[T](
    seconds: float, act: Callable[[], T], *, stop: Event | None = None, grace: float = 0.0
) -> T:
    """Do something in a thread of its own, and wait no longer than that for it.

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


def side_by_side[T](
    jobs: Sequence[Callable[[], T]], *, until: Sequence[float]
) -> list[T | BaseException]:
    """Do all the jobs, each in a daemon thread that is left alone when its time is over.

    Args:
        until: each job's deadline, as `monotonic()` tells the time.

    Returns:
        What each gave or raised, in the order of the jobs; TimeoutError for one that did not come
        back.
    """
    ended: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
    answers: dict[int, T | BaseException] = {}
    for number, job in enumerate(jobs):
        try:
            Thread(target=_do, args=(number, job, ended), daemon=True).start()
        except RuntimeError as error:  # The machine gives no more threads.
            answers[number] = error
    while waiting := [until[n] for n in range(len(jobs)) if n not in answers]:
        try:
            number, answer = ended.get(timeout=max(max(waiting) - monotonic(), 0.0))
        except Empty:
            break
        answers[number] = answer
    return [answers.get(n, TimeoutError("It did not come back in time.")) for n in range(len(jobs))]


def _do[T](
    number: int, job: Callable[[], T], ended: SimpleQueue[tuple[int, T | BaseException]]
) -> None:
    try:
        answer: T | BaseException = job()
    except BaseException as error:  # Also what would end a process: it is one job's.
        answer = error
    # First the answer: closing a connection to what hangs can hang.
    ended.put((number, answer))
    with suppress(Exception):
        connections.close_all()
