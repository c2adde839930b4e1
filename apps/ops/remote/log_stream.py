"""A container's log over a link that breaks: each line once, in order, none lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

# Docker's: always of this length, always UTC.
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) ")

Show = Callable[[bytes], object]


class _Position(NamedTuple):
    """Of a line: how often the clock had stepped back before it, its time stamp, and how many of
    that very time there were."""

    steps: int = 0
    stamp: bytes = b""
    number: int = 0

    def next(self, stamp: bytes) -> _Position:
        if stamp == self.stamp:
            return _Position(self.steps, stamp, self.number + 1)
        return _Position(self.steps + (stamp < self.stamp), stamp, 1)


class LogStream:
    """One of a container's two outputs, as `docker logs --timestamps` has it.

    Args:
        show: called with each line, without its end.
        say: called with what is not of the container: what Docker itself has to say.
    """

    def __init__(self, show: Show, say: Show) -> None:
        self._show = show
        self._say = say
        self._begun = b""
        self._seen = _Position()
        self._read = _Position()

    @property
    def since(self) -> str:
        """Where to begin again; empty: at the beginning, as after a clock that stepped back."""
        return "" if self._seen.steps else self._seen.stamp.decode()

    def begin(self) -> None:
        """What comes now is read anew: from `since` on, or from before that."""
        self._begun = b""
        self._read = _Position()

    def feed(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """It came to its end, which need not be a line's."""
        if self._begun:
            self._line(self._begun)
            self._begun = b""

    def _line(self, line: bytes) -> None:
        match = _STAMPED.match(line)
        if match is None:
            self._say(line)
            return
        self._read = self._read.next(match[1])
        if self._read <= self._seen:
            return
        self._seen = self._read
        # Docker keeps a long line in parts, each with the stamp of the first.
        self._show(line.replace(match[1] + b" ", b""))
