"""A real OpenSSH server, a laptop's home, and somebody who answers."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apps.ops.remote.asking import Nobody
from apps.ops.remote.connection import Connection, connect
from apps.ops.remote.servers import Server
from tests.rig.sshd import Relay, Sshd, make_key
from tests.servers import HUNG_SECONDS

USER = getpass.getuser()


@dataclass
class Answers:
    """Somebody who answers, and remembers what was asked."""

    yes_to_all: bool = False
    secrets: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def yes(self, question: str) -> bool:
        self.asked.append(question)
        return self.yes_to_all

    def secret(self, question: str) -> str | None:
        self.asked.append(question)
        return self.secrets.pop(0) if self.secrets else None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A laptop's home with an empty ~/.ssh, and no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.fixture
def key(home: Path) -> Path:
    return make_key(home / ".ssh" / "id_ed25519")


@pytest.fixture
def sshd(home: Path, key: Path) -> Iterator[Sshd]:
    server = Sshd().allow(key)
    try:
        server.start()
        (home / ".ssh" / "known_hosts").write_text(server.known_hosts_line())
        yield server
    finally:
        server.destroy()


def at(port: int, *, host: str = "127.0.0.1", user: str | None = USER) -> Server:
    return Server("test", user, host, port, "/tmp")


def link(sshd: Sshd, ask: Answers | Nobody | None = None) -> Connection:
    return connect(at(sshd.port), ask=ask or Nobody(), say=lambda text: None)


def said(connection: Connection, *argv: str) -> str:
    with connection:
        return connection.run(argv, seconds=HUNG_SECONDS).output


@pytest.fixture
def relay(sshd: Sshd, home: Path) -> Iterator[Relay]:
    relay = Relay(sshd.port)
    with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
        known_hosts.write(sshd.known_hosts_line(relay.port))
    yield relay
    relay.close()
