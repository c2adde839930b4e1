from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from time import time

from apps.ops.edge.probe import Answer


@dataclass(frozen=True, slots=True)
class Sample:
    """`begin` and `end` in seconds since 1970; `wrong` is the answer if it was not as it should."""

    begin: float
    end: float
    wrong: Answer | None


class Sampler:
    """Asks a question over and over, in a thread: one that hangs holds nobody up."""

    def __init__(self, ask: Callable[[], Answer | None], *, every_seconds: float) -> None:
        self._ask = ask
        self._every = every_seconds
        self._samples: list[Sample] = []
        self._stop = Event()
        Thread(target=self._run, daemon=True, name="sampler").start()

    @property
    def samples(self) -> list[Sample]:
        return list(self._samples)

    def sample(self) -> Sample:
        """Ask now, in the caller's thread."""
        begin = time()
        wrong = self._ask()
        sample = Sample(begin, time(), wrong)
        self._samples.append(sample)
        return sample

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.sample()
            self._stop.wait(self._every)
