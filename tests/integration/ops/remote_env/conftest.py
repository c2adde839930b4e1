"""A laptop's checkout and a server's directory, with a real sshd in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from apps.ops.remote.connection import Connection
from apps.ops.remote.env_files import handle_env
from apps.ops.remote.servers import Server
from tests.integration.ops.provisioned_server import SshServer

EXAMPLE = "SECRET_KEY=\nPOSTGRES_PASSWORD=\n#DEBUG=false\n#OPS_BRANCH=main\n"
OLD = "SECRET_KEY=old-secret-value\nPOSTGRES_PASSWORD=pass-word-one\nOPS_BRANCH=main\n"
NEW = "SECRET_KEY=new-secret-value\nPOSTGRES_PASSWORD=pass-word-one\nDEBUG=false\n"
SECRETS = ("old-secret-value", "new-secret-value", "pass-word-one", "slip-of-the-pen")


class Answer:
    """Somebody at a terminal who always says the same, and keeps what was asked."""

    def __init__(self, *, yes: bool) -> None:
        self._yes = yes
        self.asked: list[str] = []

    def yes(self, question: str) -> bool:
        self.asked.append(question)
        return self._yes

    def secret(self, question: str) -> str | None:
        raise AssertionError(question)


class Laptop:
    """This machine's checkout, and the server's directory."""

    def __init__(self, root: Path, connection: Connection, server: Server) -> None:
        self.root = root
        self.local = root / ".env.production"
        self.remote = Path(server.directory) / ".env"
        self._connection = connection
        self._server = server
        (root / ".env.example").write_text(EXAMPLE)

    def env(self, action: str, *, yes: bool = True, **options: Any) -> int:
        return handle_env(self._connection, self._server, action, options, ask=Answer(yes=yes))

    def copies(self) -> list[Path]:
        return sorted(self.remote.parent.glob(".env.before-*"))


@pytest.fixture
def laptop(ssh_server: SshServer, tmp_path: Path, settings: Settings) -> Iterator[Laptop]:
    root, directory = tmp_path / "laptop", tmp_path / "server"
    root.mkdir()
    directory.mkdir()
    settings.BASE_DIR = root
    server = Server("production", None, "127.0.0.1", ssh_server.port, str(directory))
    with ssh_server.connect(server) as connection:
        yield Laptop(root, connection, server)


@pytest.fixture(autouse=True)
def _no_value_is_shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    said = "".join(capsys.readouterr())
    assert not [secret for secret in SECRETS if secret in said]
