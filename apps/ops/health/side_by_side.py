"""Several things at once, each with a deadline: none holds up the others, nor the process's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from django.db import connections


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
