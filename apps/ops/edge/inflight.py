"""How many requests each colour is answering at this moment, as Caddy counts them."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from apps.ops.colors import Color

SECONDS = 3.0


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def in_flight(admin_socket: Path, color: Color) -> int | None:
    """Requests on their way to or from a colour; None when Caddy does not tell.

    Counted by Caddy for every upstream its configuration names, which is why both colours always
    stand in it: https://caddyserver.com/docs/api#get-reverse_proxyupstreams
    """
    connection = _UnixConnection(admin_socket)
    try:
        connection.request("GET", "/reverse_proxy/upstreams")
        upstreams = json.loads(connection.getresponse().read())
        counts = {u["address"].partition(":")[0]: int(u["num_requests"]) for u in upstreams}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return counts.get(color.service)
