"""Caddy's admin socket: https://caddyserver.com/docs/api"""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path
from typing import Any

SECONDS = 3.0
# A load waits until the new servers listen; the old ones end by themselves.
LOAD_SECONDS = 30.0
AS_CADDYFILE, AS_JSON = "text/caddyfile", "application/json"
CADDYFILE = "/etc/caddy/Caddyfile"


class CaddyAway(Exception):
    """It does not answer, or not with what was asked for; says how."""


class CaddyRefused(Exception):
    """It does not take the configuration, and goes on with the one it has; says why."""


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Admin:
    """Raises (every method): CaddyAway."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def upstreams(self) -> list[dict[str, Any]]:
        """Every upstream that the configuration names, with its requests in flight."""
        found: list[dict[str, Any]] = self._ask("GET", "/reverse_proxy/upstreams")
        return found

    def running(self) -> Any:
        """The configuration that is in force."""
        return self._ask("GET", "/config/")

    def adapted(self, caddyfile: str, *, path: str = CADDYFILE) -> Any:
        """What a Caddyfile means to this Caddy, with its environment.

        Args:
            path: where Caddy reads it when it starts, and which it then serves to nobody.

        Raises:
            CaddyRefused: nothing.
        """
        answer = self._ask("POST", "/adapt", caddyfile.encode(), AS_CADDYFILE)
        try:
            return json.loads(json.dumps(answer["result"]).replace('"./Caddyfile"', f'"{path}"'))
        except (KeyError, TypeError) as error:
            raise CaddyAway(f"its answer makes no sense ({error!r})") from error

    def load(self, configuration: Any) -> None:
        """Put a configuration in force; requests that were begun are answered under the old one.

        Raises:
            CaddyRefused: the old one is in force.
        """
        self._ask("POST", "/load", json.dumps(configuration).encode(), AS_JSON, LOAD_SECONDS)

    def _ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "", seconds: float = SECONDS
    ) -> Any:
        connection = _UnixConnection(self._path, seconds)
        headers = {"Content-Type": kind} if kind else {}
        try:
            connection.request(method, path, body, headers)
            try:
                response = connection.getresponse()
            except RemoteDisconnected:
                # After a load the old endpoint ends, and hangs up on whom it had not heard yet.
                # All that is asked here can be asked twice.
                connection.close()
                connection.request(method, path, body, headers)
                response = connection.getresponse()
            said = response.read()
            if response.status == 400:
                raise CaddyRefused(_error(said))
            if response.status != 200:
                raise CaddyAway(f"it answers {response.status} {_error(said)}")
            return json.loads(said) if said.strip() else None
        except (OSError, HTTPException, ValueError) as error:
            raise CaddyAway(str(error) or type(error).__name__) from error
        finally:
            connection.close()


def same(one: Any, other: Any) -> bool:
    """Whether two configurations mean the same. Which files they were read from, and which Caddy
    therefore serves to nobody (`hide`), is not looked at."""
    return bool(_without_files(one) == _without_files(other))


def _without_files(configuration: Any) -> Any:
    def drop(part: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in part.items() if key != "hide"}

    return json.loads(json.dumps(configuration), object_hook=drop)


def _error(said: bytes) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return said.decode(errors="replace").strip()[:500]
