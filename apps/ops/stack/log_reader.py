"""What a project's containers logged and log from now on, merged by Docker's own times."""

from __future__ import annotations

import heapq
import re
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import monotonic, sleep, time

import requests
from docker.errors import DockerException, NotFound

import docker
from apps.ops.colors import Color
from apps.ops.errors import OpsError
from apps.ops.redact import first_line
from apps.ops.stack.engine import away
from apps.ops.stack.service import OTHER_SERVICES

SERVICES = tuple(sorted(("django-a", "django-b", *OTHER_SERVICES)))
API_SECONDS = 10
LOOK_SECONDS = 0.5
WAITING_LINES = 1000
MAX_LINE = 1_000_000
# Docker keeps a longer line in parts of so many bytes, each with a time of its own.
PART = 16_384
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
_COLORS = {color.service: color for color in Color}
_BROKEN = (DockerException, requests.RequestException, OSError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class Source:
    """A container that logs. What a deployment runs beside the services counts as `utility`."""

    container: str
    service: str
    color: Color | None
    running: bool


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is Docker's time of it, ISO 8601 in UTC with nanoseconds: as text it sorts by time."""

    at: str
    source: Source
    text: str


class LogReader:
    """The logs of a project's services, in the order of Docker's times.

    Memory is bounded however long the logs are: they are streamed, and only a tail is kept.

    Args:
        services: these only; none means all. `unknown` says which of them there are not.
        since: seconds since 1970; None means from their beginnings.
        tail: at most so many lines of each container, the last ones; None means all.
        wanted: which lines to tell, by their text.
        cleaner: makes, for each container, what is done to the text of its lines before anybody
            sees them.

    Raises (every method):
        OpsError: the daemon does not answer, or not in time, or a log cannot be read.
    """

    def __init__(
        self,
        project: str,
        services: Sequence[str] = (),
        *,
        since: float | None = None,
        tail: int | None = None,
        wanted: Callable[[str], bool] | None = None,
        cleaner: Callable[[], Callable[[str], str]] = lambda: str,
    ) -> None:
        self._project = project
        self._services = services
        self._since = since
        self._tail = tail
        self._wanted = wanted
        self._cleaners = defaultdict[str, Callable[[str], str]](cleaner)
        self._begun = time()
        self._last: dict[str, str] = {}

    def sources(self) -> list[Source]:
        """The containers whose logs are read, also stopped ones; never the one we run in: what it
        tells would be told again."""
        found = [s for s in self._all() if not self._services or s.service in self._services]
        return sorted(found, key=lambda s: (s.service, s.container))

    def known(self) -> list[str]:
        """The names of the services that there can be or are."""
        return sorted({*SERVICES, *(source.service for source in self._all())})

    def history(self) -> Iterator[Line]:
        """What was logged up to now."""
        streams = {s: _Stream(s, since=self._since, tail=self._docker_tail) for s in self.sources()}
        try:
            told = [self._tell(source, stream.lines()) for source, stream in streams.items()]
            yield from heapq.merge(*told, key=lambda line: line.at)
        finally:
            for stream in streams.values():
                stream.close()

    def follow(self, problem: Callable[[OpsError], None]) -> Iterator[Line]:
        """What is logged from now on, also by containers that take the place of others. Without an
        end; for who has read the history.

        Args:
            problem: told once when Docker does not answer any more; it is asked again and again.
        """
        queue: Queue[Line] = Queue(WAITING_LINES)
        streams: dict[str, _Stream] = {}
        looked, away = 0.0, False
        try:
            while True:
                if monotonic() - looked > LOOK_SECONDS:
                    try:
                        self._attach(streams, queue)
                        away = False
                    except OpsError as error:
                        if not away:
                            problem(error)
                        away = True
                    looked = monotonic()
                yield from self._arrived(queue)
        finally:
            for stream in streams.values():
                stream.close()

    @property
    def _docker_tail(self) -> int | None:
        # Which lines are wanted Docker cannot tell: its last ones may all be unwanted.
        return None if self._wanted else self._tail

    def _all(self) -> list[Source]:
        label = f"com.docker.compose.project={self._project}"
        try:
            client = docker.from_env(timeout=API_SECONDS)
            try:
                found = client.api.containers(all=True, filters={"label": label})
            finally:
                client.close()
        except _BROKEN as error:
            raise away(error) from error
        own = socket.gethostname()
        return [_source(c) for c in found if not (len(own) == 12 and c["Id"].startswith(own))]

    def _tell(self, source: Source, lines: Iterator[Line]) -> Iterator[Line]:
        self._last.setdefault(source.container, "")
        told = self._pick(lines)
        yield from told if self._tail is None else deque(told, maxlen=self._tail)

    def _pick(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            before = self._last.get(line.source.container, "")
            self._last[line.source.container] = max(before, line.at)
            cleaned = Line(line.at, line.source, self._cleaners[line.source.container](line.text))
            if self._wanted is None or self._wanted(cleaned.text):
                yield cleaned

    def _attach(self, streams: dict[str, _Stream], queue: Queue[Line]) -> None:
        for source in self.sources():
            stream = streams.get(source.container)
            if stream and (not stream.ended or not source.running):
                continue
            last = self._last.get(source.container)
            # One that came since tells all; of one that had told nothing, what it has since then.
            since = None if last is None else _seconds(last) if last else self._begun
            streams[source.container] = _Stream(source, since=since, follow=True, queue=queue)
            self._last.setdefault(source.container, "")

    def _arrived(self, queue: Queue[Line]) -> list[Line]:
        """What came meanwhile, in order: several containers' lines arrive in any."""
        sleep(0.05)
        batch: list[Line] = []
        with suppress(Empty):
            while len(batch) < WAITING_LINES:
                batch.append(queue.get_nowait())
        # A stream that is opened again begins a little before where it broke.
        fresh = [line for line in batch if line.at > self._last[line.source.container]]
        return list(self._pick(sorted(fresh, key=lambda line: line.at)))


class _Stream:
    """One container's log, read in a thread: a daemon that hangs holds up nobody for ever."""

    def __init__(
        self,
        source: Source,
        *,
        since: float | None,
        tail: int | None = None,
        follow: bool = False,
        queue: Queue[Line] | None = None,
    ) -> None:
        self.ended = False
        self._source = source
        self._queue: Queue[Line] = queue or Queue(WAITING_LINES)
        self._since, self._tail, self._follow = since, tail, follow
        self._error: Exception | None = None
        self._closed = Event()
        Thread(target=self._run, daemon=True, name=f"logs of {source.service}").start()

    def lines(self) -> Iterator[Line]:
        silent = monotonic() + API_SECONDS
        while True:
            ended = self.ended  # Asked before the queue: what came before the end is in it.
            try:
                yield self._queue.get(timeout=0.02)
                silent = monotonic() + API_SECONDS
            except Empty:
                if ended:
                    break
                if monotonic() > silent:
                    raise away(TimeoutError("it says nothing more")) from None
        if self._error and not isinstance(self._error, NotFound):
            raise OpsError(
                f"The log of {self._source.service} cannot be read ({first_line(self._error)}).",
                next=f"docker compose logs {self._source.service}",
            )

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        try:
            self._read()
        except _BROKEN as error:
            self._error = error
        finally:
            self.ended = True

    def _read(self) -> None:
        client = docker.from_env(timeout=API_SECONDS)
        try:
            chunks = client.containers.get(self._source.container).logs(
                stream=True,
                follow=self._follow,
                timestamps=True,
                since=self._since,
                tail="all" if self._tail is None else self._tail,
            )
            for raw in split_log(chunks):
                at, _, text = raw.partition(b" ")
                shown = text.removesuffix(b"\r").decode(errors="replace")
                self._put(Line(at.decode(errors="replace"), self._source, shown))
                if self._closed.is_set():
                    return
        finally:
            client.close()

    def _put(self, line: Line) -> None:
        while not self._closed.is_set():
            with suppress(Full):
                self._queue.put(line, timeout=0.2)
                return


def split_log(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, each with its time before it, from pieces that end anywhere.

    Of a line longer than MAX_LINE its beginning.
    """
    begun: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        # Of a container with a terminal each byte is a piece: joined at the line's end only.
        if size < MAX_LINE:
            begun.append(first)
            size += len(first)
        if others:
            yield _join_parts(b"".join(begun))
            yield from map(_join_parts, others[:-1])
            begun, size = [others[-1]], len(others[-1])
    if size:
        yield _join_parts(b"".join(begun))


def _join_parts(line: bytes) -> bytes:
    time_of_it = _TIME.match(line)
    if time_of_it is None or len(line) <= time_of_it.end() + PART:
        return line[:MAX_LINE]
    parts, at = [line[: time_of_it.end() + PART]], time_of_it.end() + PART
    while at < min(len(line), MAX_LINE):
        inner = _TIME.match(line, at)
        at = inner.end() if inner else at
        parts.append(line[at : at + PART])
        at += PART
    return b"".join(parts)


def _source(container: dict[str, object]) -> Source:
    labels = container["Labels"]
    assert isinstance(labels, dict)
    service = str(labels.get("com.docker.compose.service", ""))
    if labels.get("com.docker.compose.oneoff") == "True":
        service = "utility"
    return Source(
        container=str(container["Id"]),
        service=service,
        color=_COLORS.get(service),
        running=container["State"] == "running",
    )


def _seconds(at: str) -> float:
    # Docker writes nanoseconds; Python reads microseconds.
    return datetime.fromisoformat(f"{at[:26]}+00:00").timestamp() - 0.001
