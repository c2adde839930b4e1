"""The servers that OPS_SERVERS names: `production=deploy@www.example.org:22/code/site`, …"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apps.ops.errors import OpsError

EXAMPLE = "OPS_SERVERS=production=deploy@www.example.org:22/code/site"
_SERVER = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)="
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.+-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.%a-z0-9]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<directory>/[^\x00-\x1f\x7f]*)"
)


class Misnamed(OpsError):
    """OPS_SERVERS cannot be read, or has no such server."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Server:
    """Where a site runs.

    Attributes:
        host: a name, an address, or a Host of `~/.ssh/config`.
        user, port: None when it says neither; `~/.ssh/config` may, then.
        directory: the checkout on the server, an absolute path.
    """

    name: str
    user: str | None
    host: str
    port: int | None
    directory: str

    def __str__(self) -> str:
        return f"{self.name} ({self.host})"

    def command(self, words: str) -> str:
        """What to type for `remote WORDS` with this server."""
        return f"manage.py remote --server {self.name} {words}"


def parse(servers: Sequence[str]) -> dict[str, Server]:
    """Read what OPS_SERVERS has, split at its commas.

    Raises:
        Misnamed: a part is not of the form NAME=[USER@]HOST[:PORT]/DIRECTORY, or a name is there
            twice.
    """
    found: dict[str, Server] = {}
    for text in servers:
        match = _SERVER.fullmatch(text.strip())
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port is not None and not 0 < port < 65536):
            raise Misnamed(
                f"OPS_SERVERS has {text!r}, which is not NAME=[USER@]HOST[:PORT]/DIRECTORY.",
                next=f"{EXAMPLE}   # in .env",
            )
        if match["name"] in found:
            raise Misnamed(
                f"OPS_SERVERS has two servers of the name {match['name']}.",
                next="Give each a name of its own in .env.",
            )
        directory = match["directory"].rstrip("/") or "/"
        host = match["host"].strip("[]")
        found[match["name"]] = Server(match["name"], match["user"], host, port, directory)
    return found


def choose(servers: Mapping[str, Server], name: str | None) -> Server:
    """The server of that name; without a name, the only one.

    Raises:
        Misnamed: there is none, there are several to choose from, or none has that name.
    """
    if not servers:
        raise Misnamed(
            "OPS_SERVERS names no server.",
            next=f"{EXAMPLE}   # in .env; on a server itself: COMPOSE_FILE",
        )
    names = ", ".join(servers)
    if name is None:
        if len(servers) > 1:
            raise Misnamed(
                f"There are several servers: {names}.",
                next=f"manage.py remote --server {next(iter(servers))} …",
            )
        return next(iter(servers.values()))
    if name not in servers:
        raise Misnamed(
            f"OPS_SERVERS has no server {name!r}. It has: {names}.",
            next=f"manage.py remote --server {next(iter(servers))} …",
        )
    return servers[name]
