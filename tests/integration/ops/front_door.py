"""The real Caddy with the real Caddyfile, between visitors and two small servers.

Of the file only what cannot be on every machine is replaced: directories, and ports that need root
or are taken. Uploads come from the real nginx with the real configuration, as in production.
Upstreams keep their names (Caddy counts requests by them): a name server of our own knows them, as
Docker's does in production, and forgets the name of a service that is down.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from threading import Event, Thread
from typing import Any, Self, cast

from apps.ops.colors import Color
from apps.ops.edge.files import Edge
from tests.servers import HUNG_SECONDS, free_port, wait_until

ROOT = Path(__file__).parents[3]
HOST = "site.test"
ADDRESSES = {"django-a": "127.0.0.2", "django-b": "127.0.0.3"}


@dataclass
class Response:
    status: int
    body: str
    headers: dict[str, str]

    @property
    def color(self) -> str:
        return self.headers.get("x-color", "")


class NameServer:
    """Answers A queries for the names it knows, over UDP, like the engine's own."""

    def __init__(self) -> None:
        self.known = dict(ADDRESSES)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._socket.getsockname())

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, client = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = query[12 : at + 5]
        (kind,) = struct.unpack_from("!H", query, at + 1)
        address = self.known.get(".".join(labels))
        # Flags: a response, recursion available; NXDOMAIN for a name that is not known.
        flags = 0x8180 if address else 0x8183
        answers = b""
        if address and kind == 1:
            answers = struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
        counts = struct.pack("!HHHHH", flags, 1, 1 if answers else 0, 0, 0)
        return query[:2] + counts + question + answers


class Upstream(ThreadingHTTPServer):
    """A colour: says who it is and what it was asked; `/hang` answers when `release` is set."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, service: str, port: int) -> None:
        super().__init__((ADDRESSES[service], port), _Colour)
        self.color = Color.BLUE if service == "django-a" else Color.GREEN
        self.release = Event()
        self._connections: set[socket.socket] = set()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def stop(self) -> None:
        """As a process that ends: nobody listens any more, and kept connections are closed."""
        self.release.set()
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Colour(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("Upstream", self.server)
        length = int(self.headers.get("Content-Length", "0"))
        received = len(self.rfile.read(length)) if length else 0
        if "Transfer-Encoding" in self.headers:
            received = self._chunks()
        if self.path == "/hang":
            server.release.wait(HUNG_SECONDS)
        if self.path == "/hangup":
            self.close_connection = True
            return
        status = int(self.path.removeprefix("/status/")) if "/status/" in self.path else 200
        body = json.dumps(
            {"path": self.path, "headers": self.headers.items(), "received": received}
        ).encode()
        self.send_response(status)
        self.send_header("X-Color", server.color)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/framed":
            self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def _chunks(self) -> int:
        received = 0
        while length := int(self.rfile.readline() or b"0", 16):
            received += len(self.rfile.read(length))
            self.rfile.readline()
        return received

    def log_message(self, format: str, *args: object) -> None:
        pass


class MediaServer:
    """The real nginx, as nobody, on a directory that nobody may read."""

    def __init__(self) -> None:
        # Not below pytest's own, which are its user's alone.
        self.directory = Path(tempfile.mkdtemp(prefix="changeover-media-"))
        self.directory.chmod(0o755)
        self.root = self.directory / "root"
        self.root.mkdir()
        scratch = self.directory / "tmp"
        scratch.mkdir()
        scratch.chmod(0o777)
        self.address = f"127.0.0.1:{free_port()}"
        text = (ROOT / "docker/media/nginx.conf").read_text()
        for old, new in {
            "listen 8080": f"listen {self.address}",
            " /tmp/": f" {scratch}/",
            "/srv/media": str(self.root),
        }.items():
            assert old in text, f"nginx.conf has no {old} any more"
            text = text.replace(old, new)
        config = self.directory / "nginx.conf"
        config.write_text(text)
        self._config = config
        self.resume()

    def resume(self) -> None:
        nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"] if not os.getuid() else []
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *nobody, "nginx", "-c", str(self._config)]
                + ["-g", "daemon off;"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers)

    def pause(self) -> None:
        self._process.terminate()
        self._process.wait(HUNG_SECONDS)

    def stop(self) -> None:
        self.pause()
        shutil.rmtree(self.directory)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "log").read_text())
        host, port = self.address.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True


@dataclass
class FrontDoor:
    directory: Path
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    probe_port: int = field(default_factory=free_port)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    # Of the Caddyfile, beside the site's own.
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> Self:
        for name in ("edge", "static", "data"):
            (self.directory / name).mkdir()
        self.media = MediaServer()
        self.names = NameServer()
        self._upstream_port = _port_free_on_all(ADDRESSES.values())
        for service in ADDRESSES:
            self.bring_up(service)
        self.own.touch()
        caddyfile = self.directory / "Caddyfile"
        caddyfile.write_text(self._rendered())
        environment = {
            **os.environ,
            "SITE_HOST": HOST,
            "SITE_SCHEME": "http",
            **self.environment,
            "XDG_DATA_HOME": str(self.directory / "data"),
            "XDG_CONFIG_HOME": str(self.directory / "data"),
        }
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *entrypoint(), _caddy(), "run"]
                + ["--config", str(caddyfile), "--adapter", "caddyfile"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._answers)
        except AssertionError:
            raise RuntimeError((self.directory / "log").read_text()) from None
        return self

    def stop(self) -> None:
        for upstream in self.upstreams.values():
            upstream.stop()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.names.close()
        self.media.stop()

    @property
    def edge(self) -> Edge:
        return Edge(self.directory / "edge")

    @property
    def own(self) -> Path:
        """The project's own lines; read when Caddy starts."""
        return self.directory / "site.caddy"

    @property
    def admin(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def probe_address(self) -> str:
        return f"127.0.0.1:{self.probe_port}"

    def bring_up(self, service: str) -> None:
        self.names.known[service] = ADDRESSES[service]
        self.upstreams[service] = Upstream(service, self._upstream_port)

    def take_down(self, service: str, *, forget: bool = False) -> None:
        """Its process ends; with `forget` its container is gone too, and with it its name."""
        self.upstreams.pop(service).stop()
        if forget:
            del self.names.known[service]

    def log(self) -> list[dict[str, Any]]:
        lines = (self.directory / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def access_log(self, path: str) -> list[dict[str, Any]]:
        """The entries of one path; waits for the first."""

        def entries() -> list[dict[str, Any]]:
            return [
                entry
                for entry in self.log()
                if entry.get("logger", "").startswith("http.log.access")
                and entry["request"]["uri"].partition("?")[0] == path
            ]

        wait_until(entries)
        return entries()

    def get(
        self,
        path: str = "/",
        *headers: tuple[str, str],
        host: str = HOST,
        method: str = "GET",
        body: bytes | None = None,
        probe: bool = False,
    ) -> Response:
        """As it stands there: nothing of the path is normalised, headers may come twice."""
        port = self.probe_port if probe else self.port
        connection = HTTPConnection("127.0.0.1", port, timeout=HUNG_SECONDS)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if body is not None:
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(body)
            return _read(connection.getresponse())
        finally:
            connection.close()

    def send(self, raw: bytes, *, then: int | None = None) -> int:
        """The status that whatever bytes are answered with.

        Args:
            then: of socket.SHUT_*, what the client does after them.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=HUNG_SECONDS) as client:
            client.sendall(raw)
            if then is not None:
                client.shutdown(then)
            return int(client.recv(65536).split(b" ", 2)[1])

    def get_over_tls(self, host: str, *, sni: str | None = None) -> Response:
        """As a browser would; the certificate is not looked at.

        Args:
            sni: the name that the connection is opened for, if it is another one.
        """
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPConnection("127.0.0.1", self.tls_port, timeout=HUNG_SECONDS)
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=HUNG_SECONDS)
        connection.sock = context.wrap_socket(plain, server_hostname=sni or host)
        try:
            connection.request("GET", "/a?b=c", headers={"Host": host})
            return _read(connection.getresponse())
        finally:
            connection.close()

    def color(self, *headers: tuple[str, str]) -> str:
        return self.get("/", *headers).color

    def _rendered(self) -> str:
        text = (ROOT / "docker/caddy/Caddyfile").read_text()
        admin = (
            f"admin unix/{self.admin}|0220\n\thttp_port {self.port}\n\thttps_port {self.tls_port}"
            # Certificates from nobody else, and no changes to this machine.
            "\n\tlocal_certs\n\tskip_install_trust"
        )
        replaced = {
            "admin unix//run/caddy/admin.sock|0220": admin,
            "http://:2020": f"http://:{self.probe_port}",
            "{args[1]}:8000": f"{{args[1]}}:{self._upstream_port}",
            "{args[1]}.:8000": f"{{args[1]}}.:{self._upstream_port}",
            "transport http {": f"transport http {{\n\t\t\tresolvers {self.names.address}",
            "media:8080": self.media.address,
            "root * /etc/caddy": f"root * {ROOT / 'docker/caddy'}",
            "/srv/edge": str(self.directory / "edge"),
            "/srv/static": str(self.directory / "static"),
        }
        for old, new in replaced.items():
            assert old in text, f"the Caddyfile has no {old} any more"
            # Not in its comments.
            text = re.sub(rf"(?m)^([^#\n]*){re.escape(old)}", lambda m, new=new: m[1] + new, text)
        return text

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "log").read_text())
        try:
            return self.get("/.edge", probe=True).status == 200
        except OSError:
            return False


def entrypoint() -> list[str]:
    """What compose.prod.yml starts Caddy through."""
    _, _, caddy = (ROOT / "compose.prod.yml").read_text().partition("\n  caddy:\n")
    _, begun, script = caddy.partition("    entrypoint:\n      - sh\n      - -fc\n      - |\n")
    script, ended, _ = script.partition("      - sh\n")
    assert all((begun, ended)), "compose.prod.yml has another entrypoint for caddy now"
    return ["sh", "-fc", dedent(script).replace("$$", "$"), "sh"]


def _read(response: HTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, response.read().decode(errors="replace"), headers)


def _caddy() -> str:
    found = shutil.which("caddy")
    assert found, "there is no caddy here: copy it from the image caddy:2 (/usr/bin/caddy)"
    return found


def _port_free_on_all(addresses: Any) -> int:
    while True:
        port = free_port()
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return port


def in_background(act: Callable[[], object]) -> Thread:
    thread = Thread(target=act)
    thread.start()
    return thread
