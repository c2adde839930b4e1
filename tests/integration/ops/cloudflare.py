"""A server on loopback that behaves like Cloudflare's API v4: its envelopes, codes, limits and
permissions as documented and seen in the wild, and on request its bad days."""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, time
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from apps.ops.conf import OpsSettings
from tests.servers import HUNG_SECONDS

MAX_OPERATIONS = 100
ROOT = Path(__file__).parents[3]
KINDS = ("purge_everything", "files", "prefixes", "hosts", "tags")
Trouble = Callable[["_Handler"], None]


class CloudflareApi:
    """`purged` has each accepted purge: its kind and values. `troubles` are met first, one a
    request; `weather` is asked about each request after them."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(30)
        self.zones = {"example.org": secrets.token_hex(16), "other.test": secrets.token_hex(16)}
        self.may_read_zones = True
        self.may_verify = True
        self.permitted = {"example.org"}
        self.purged: list[tuple[str, list[str]]] = []
        self.requests: list[tuple[str, str]] = []
        self.broken_limits: list[str] = []
        self.troubles: deque[Trouble] = deque()
        self.weather: Callable[[], Trouble | None] = lambda: None
        self.not_before = 0.0
        self.lock = Lock()
        self.let_go = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"api": self}))
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/client/v4"

    @property
    def zone(self) -> str:
        return self.zones["example.org"]

    def values(self, kind: str) -> list[str]:
        return [value for name, values in self.purged if name == kind for value in values]

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator[Self]:
        server = cls().start()
        try:
            yield server
        finally:
            server.stop()

    def start(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()


def purge_cache(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors; the token that it was given is in neither."""
    code = 0
    try:
        call_command("purge_cache", *argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    token = settings.OPS.cloudflare_token
    assert not token or token not in said.out + said.err
    return code, said.out, said.err


def purge_process(ops: OpsSettings, *argv: str, **how: Any) -> subprocess.Popen[str]:
    """purge_cache as a process of its own, on this test's database."""
    environment = {
        "OPS_CLOUDFLARE_TOKEN": ops.cloudflare_token,
        "OPS_CLOUDFLARE_ZONE": ops.cloudflare_zone,
        "OPS_CLOUDFLARE_API": ops.cloudflare_api,
        "OPS_STATE_DIR": str(ops.state_dir),
        "POSTGRES_DB": connection.settings_dict["NAME"],
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", "purge_cache", *argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **how,
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ClassVar[CloudflareApi]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        self.body = body
        with self.api.lock:
            self.api.requests.append((self.command, self.path))
            if monotonic() < self.api.not_before:
                self.api.broken_limits.append(f"{self.path} came before Retry-After")
            trouble = self.api.troubles.popleft() if self.api.troubles else self.api.weather()
        with suppress(ConnectionError):
            (trouble or _Handler.as_usual)(self)

    def as_usual(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/client/v4").strip("/").split("/")
        given = self.headers.get("Authorization", "")
        if not given.startswith("Bearer "):
            self.refuse(400, 6003, "Invalid request headers")
        elif given != f"Bearer {self.api.token}":
            self.refuse(403, 9109, "Invalid access token")
        elif path == ["user", "tokens", "verify"]:
            if self.api.may_verify:
                self.accept({"id": secrets.token_hex(16), "status": "active"})
            else:
                self.refuse(401, 1000, "Invalid API Token")
        elif path == ["zones"]:
            self._zones(parse_qs(parts.query).get("name", [""])[0])
        elif path[0] == "zones" and path[2:] == ["purge_cache"] and self.command == "POST":
            self._purge(path[1])
        else:
            self.refuse(404, 7003, f"Could not route to {parts.path}, perhaps it is invalid?")

    def _zones(self, name: str) -> None:
        if not self.api.may_read_zones:
            self.refuse(403, 0, "Actor requires permission com.cloudflare.api.account.zone.list")
            return
        self.accept([{"id": i, "name": n} for n, i in self.api.zones.items() if n == name])

    def _purge(self, zone: str) -> None:
        name = next((n for n, i in self.api.zones.items() if i == zone), None)
        if name is None:
            self.refuse(404, 7003, f"Could not route to /zones/{zone}/purge_cache, perhaps …")
            return
        if name not in self.api.permitted:
            self.refuse(403, 10000, "Authentication error")
            return
        given: dict[str, Any] = json.loads(self.body)
        kinds = [kind for kind in KINDS if kind in given]
        if len(kinds) != 1 or len(given) != 1:
            self.refuse(400, 1012, f"Request must contain one of {', '.join(KINDS)}")
            return
        values = given[kinds[0]]
        if values is True:
            values = []
        elif len(values) > MAX_OPERATIONS:
            self.api.broken_limits.append(f"{len(values)} operations at once")
            self.refuse(400, 1094, f"Max {MAX_OPERATIONS} per request")
            return
        if any("not-in-this-zone" in value for value in values):
            self.refuse(400, 1016, "Unable to purge: not in this zone")
            return
        with self.api.lock:
            self.api.purged.append((kinds[0], values))
        self.accept({"id": zone})

    def accept(self, result: object) -> None:
        self.send(200, {"success": True, "errors": [], "messages": [], "result": result})

    def refuse(self, status: int, code: int, message: str) -> None:
        errors = [{"code": code, "message": message}]
        self.send(status, {"success": False, "errors": errors, "messages": [], "result": None})

    def send(self, status: int, body: object, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        """A reset, as a peer that crashed sends it."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        # Both files hold the socket open.
        self.rfile.close()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


def answers(status: int, body: object = b"<html><h1>Bad gateway</h1>", **headers: str) -> Trouble:
    return lambda request: request.send(status, body, **headers)


def limited(seconds: float | None) -> Trouble:
    """429 with Retry-After; a request that comes earlier is noted."""

    def trouble(request: _Handler) -> None:
        errors = [
            {"code": 971, "message": "Please wait and consider throttling your request speed"}
        ]
        headers = {} if seconds is None else {"Retry_After": f"{seconds:g}"}
        request.api.not_before = monotonic() + (seconds or 0.0)
        request.send(429, {"success": False, "errors": errors, "result": None}, **headers)

    return trouble


def limited_until(seconds: int) -> Trouble:
    """429 whose Retry-After is a date."""

    def trouble(request: _Handler) -> None:
        at = int(time()) + seconds
        request.api.not_before = monotonic() + at - time()
        request.send(429, b"", Retry_After=formatdate(at, usegmt=True))

    return trouble


def answers_as_usual(request: _Handler) -> None:
    request.as_usual()


def hangs_up(request: _Handler) -> None:
    request.hang_up()


def purges_and_hangs_up(request: _Handler) -> None:
    request.send = lambda *args, **kwargs: None  # type: ignore[method-assign]
    request.as_usual()
    request.hang_up()


def cut_short(request: _Handler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"success": tr')
    request.hang_up()


def says_nothing(request: _Handler) -> None:
    request.api.let_go.wait(HUNG_SECONDS)
    request.hang_up()


def drips(request: _Handler) -> None:
    """A byte now and then: no timeout between two bytes ever ends it."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not request.api.let_go.wait(0.05):
        request.wfile.write(b"X")


def echoes_the_token(request: _Handler) -> None:
    request.refuse(403, 9109, f"Invalid \x1b[31m{request.headers['Authorization']}\r\n" * 3)
