"""Visitors: real HTTP/1.1 over real sockets, where every answer that is not right is counted.

A client library would hide what is measured here (most of them try again on a broken connection),
so this speaks through h11 and retries nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any
from urllib.parse import urlencode

import h11

TIMEOUT_SECONDS = 20.0
SLOW_SECONDS = 2.0
CONNECTIONS = 16


@dataclass(slots=True)
class Request:
    """`error` is "" for a right answer; times are Unix seconds."""

    kind: str
    begun: float
    ended: float
    error: str
    release: str
    color: str

    @property
    def milliseconds(self) -> float:
        return (self.ended - self.begun) * 1000


@dataclass(slots=True)
class Traffic:
    """What was sent and what came back; `posted` are the texts whose POST was answered 303."""

    requests: list[Request] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Request]:
        return [r for r in self.requests if r.error]

    @property
    def kinds(self) -> Counter[str]:
        return Counter(r.kind for r in self.requests)

    def during(self, begin: float, end: float) -> list[Request]:
        """Quick requests that were under way in this time; slow ones are slow on purpose."""
        return [r for r in self.requests if r.ended >= begin and r.begun < end and r.kind != "slow"]


def percentile(requests: Sequence[Request], share: float) -> float:
    """Milliseconds that `share` (0 to 1) of the requests stayed within; 0 without requests."""
    times = sorted(r.milliseconds for r in requests)
    return times[min(int(len(times) * share), len(times) - 1)] if times else 0.0


@contextmanager
def visitors(port: int, *, rate: float, slow_rate: float = 2.0) -> Iterator[Traffic]:
    """Send `rate` requests a second to localhost:`port` for as long as this lasts: one in twenty a
    POST, four the page with the database behind it, the rest a page from the cache; half of them on
    a connection of their own; and `slow_rate` of 2 s beside them.

    They run in a process of their own, so that what the caller does cannot slow them down.
    """
    stop = multiprocessing.Event()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=_process, args=(port, rate, slow_rate, stop, theirs), daemon=True
    )
    process.start()
    # Else a process that dies at its start would be waited for.
    theirs.close()
    traffic = Traffic()
    assert ours.recv() == "sending"
    try:
        yield traffic
    finally:
        stop.set()
        came_back = ours.poll(TIMEOUT_SECONDS * 3)
        if came_back:
            got: Traffic = ours.recv()
            traffic.requests, traffic.posted, traffic.tried = got.requests, got.posted, got.tried
        process.kill()
    if not came_back:
        raise RuntimeError("the visitors never came back: this machine cannot carry that rate")


def _process(port: int, rate: float, slow_rate: float, stop: Any, pipe: Any) -> None:
    pipe.send(asyncio.run(_visit(port, rate, slow_rate, stop, pipe)))


async def _visit(port: int, rate: float, slow_rate: float, stop: Any, pipe: Any) -> Traffic:
    traffic = Traffic()
    form = await _form(port)
    idle: list[_Connection] = []
    running: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    begun, slow_sent = loop.time(), 0
    pipe.send("sending")
    for number in itertools.count():
        # An open loop: a slow answer does not slow the next visitor down.
        await asyncio.sleep(max(begun + number / rate - loop.time(), 0))
        if stop.is_set():
            break
        jobs = [_quick(port, number, form, idle, traffic)]
        if (loop.time() - begun) * slow_rate > slow_sent:
            slow_sent += 1
            jobs.append(_slow(port, traffic))
        for job in jobs:
            task = asyncio.create_task(job)
            running.add(task)
            task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in idle:
        connection.close()
    return traffic


async def _quick(
    port: int, number: int, form: _Form, idle: list[_Connection], traffic: Traffic
) -> None:
    kept_alive = number % 2 == 0
    connection = idle.pop() if kept_alive and idle else _Connection(port)
    if number % 40 in (4, 39):
        text = f"load {secrets.token_hex(8)}"
        traffic.tried.append(text)
        body = urlencode({"name": "Visitor", "text": text, "csrfmiddlewaretoken": form.token})
        request = await _ask(
            connection, "POST", "/messages/", 303, kept_alive, cookie=form.cookie, body=body
        )
        if not request.error:
            traffic.posted.append(text)
    else:
        path = "/" if number % 10 in (2, 7) else "/about/"
        request = await _ask(connection, "GET", path, 200, kept_alive)
    traffic.requests.append(request)
    if kept_alive and not request.error and len(idle) < CONNECTIONS:
        idle.append(connection)
    else:
        connection.close()


async def _slow(port: int, traffic: Traffic) -> None:
    connection = _Connection(port)
    request = await _ask(connection, "GET", f"/slow/?seconds={SLOW_SECONDS}", 200, False)
    request.kind = "slow"
    traffic.requests.append(request)
    connection.close()


async def _ask(
    connection: _Connection,
    method: str,
    path: str,
    expected: int,
    kept_alive: bool,
    *,
    cookie: str = "",
    body: str = "",
) -> Request:
    request = Request(f"{method}{', kept alive' if kept_alive else ''}", time(), 0.0, "", "", "")
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await connection.ask(method, path, cookie, body.encode(), kept_alive)
        request.release = answer.headers.get(b"x-release", b"").decode()
        request.color = answer.headers.get(b"x-color", b"").decode()
        if answer.status != expected:
            request.error = f"{method} {path}: {answer.status}"
    except (OSError, EOFError, TimeoutError, h11.ProtocolError) as error:
        request.error = f"{method} {path}: {type(error).__name__} {error}"
    request.ended = time()
    return request


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self._http = h11.Connection(h11.CLIENT)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, cookie: str, body: bytes, kept_alive: bool
    ) -> _Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        headers = [
            ("Host", f"localhost:{self._port}"),
            ("Connection", "keep-alive" if kept_alive else "close"),
        ]
        if body:
            headers += [
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Content-Length", str(len(body))),
                ("Cookie", cookie),
            ]
        request = h11.Request(method=method, target=path, headers=headers)
        data = self._http.send(request) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        reader, writer = self._streams
        writer.write(data)
        await writer.drain()
        return await self._answer(reader)

    async def _answer(self, reader: asyncio.StreamReader) -> _Answer:
        status, headers, body = 0, {}, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                    self._http.start_next_cycle()
                return _Answer(status, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("the connection was closed without an answer")

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


@dataclass(frozen=True, slots=True)
class _Form:
    token: str
    cookie: str


async def _form(port: int) -> _Form:
    """The guest book's form, as a browser gets it: its hidden token and its cookie."""
    connection = _Connection(port)
    answer = await connection.ask("GET", "/", "", b"", False)
    connection.close()
    token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', answer.body)
    cookie = answer.headers.get(b"set-cookie", b"").partition(b";")[0]
    assert token, f"no form in the answer {answer.status}"
    return _Form(token[1].decode(), cookie.decode())
