"""A service's log as it is written, through the Docker SDK."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import requests
from docker.errors import DockerException

import docker

AGAIN_SECONDS = 0.5
API_SECONDS = 30


class LogFollower:
    """The lines that a service's container logged since a moment, and logs from now on.

    One stream in a thread: the file is read once. It is opened again when it breaks (a restart of
    the Docker daemon or of the service), without telling a line twice. Never raises: `opened` says
    whether the log could be read at all.
    """

    def __init__(self, project: str, service: str, *, since: float) -> None:
        self.opened = False
        self._labels = [
            f"com.docker.compose.project={project}",
            f"com.docker.compose.service={service}",
            "com.docker.compose.oneoff=False",
        ]
        self._since = since
        self._last = b""
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._stop = Event()
        self._stream: Any = None
        Thread(target=self._run, daemon=True, name=f"logs of {service}").start()

    def lines(self) -> Iterator[bytes]:
        """What came since this was asked for last; does not wait."""
        with suppress(Empty):
            while True:
                yield self._lines.get_nowait()

    def stop(self) -> None:
        self._stop.set()
        if stream := self._stream:
            with suppress(OSError, DockerException, AttributeError):
                stream.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            # What an answer cut in the middle raises comes from three libraries, or, closed by
            # `stop`, from inside of them.
            with suppress(DockerException, requests.RequestException, OSError, ValueError):
                self._follow()
            self._stop.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        client = docker.from_env(timeout=API_SECONDS)
        try:
            found = client.containers.list(filters={"label": self._labels}, ignore_removed=True)
            if not found:
                return
            # With Docker's own times, to know after a break which lines have been told.
            self._stream = found[0].logs(
                stream=True, follow=True, timestamps=True, since=self._since
            )
            self.opened = True
            for line in split_lines(self._stream):
                at, _, said = line.partition(b" ")
                if at > self._last:
                    self._last = at
                    self._lines.put(said)
                if self._stop.is_set():
                    return
        finally:
            client.close()


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines from pieces that end anywhere."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
