"""`remote env` against a real sshd: atomic, private, checked first, and no value is ever shown."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from apps.ops.errors import Cancelled, OpsError, Refused, StepFailed
from apps.ops.remote.connection import Connection
from apps.ops.remote.env_files import handle_env
from apps.ops.remote.server_file import ServerFile
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


@pytest.fixture(scope="module")
def ssh_server() -> Iterator[SshServer]:
    server = SshServer()
    try:
        yield server
    finally:
        server.destroy()


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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_push_writes_it_privately_and_keeps_the_old_one(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)
    laptop.remote.chmod(0o644)

    assert laptop.env("push") == 0

    assert laptop.remote.read_text() == NEW
    assert mode(laptop.remote) == 0o600
    (copy,) = laptop.copies()
    assert copy.read_text() == OLD
    assert mode(copy) == 0o600
    assert {path.name for path in laptop.remote.parent.iterdir()} == {".env", copy.name}


def test_a_push_tells_names_and_what_is_easily_forgotten(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)

    laptop.env("push")

    said = capsys.readouterr().out
    assert said.startswith("+ DEBUG\n- OPS_BRANCH\n~ SECRET_KEY\n")
    assert "SECRET_KEY_FALLBACKS" in said


def test_the_first_push_makes_the_file(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)

    assert laptop.env("push") == 0

    assert laptop.remote.read_text() == NEW
    assert not laptop.copies()


def test_pushing_the_same_again_sends_nothing(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.local.write_text(NEW)
    laptop.env("push")
    before = laptop.remote.stat().st_ino

    assert laptop.env("push") == 0

    assert laptop.remote.stat().st_ino == before
    assert "nothing was sent" in capsys.readouterr().out


def test_a_no_sends_nothing(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)

    with pytest.raises(Cancelled) as caught:
        laptop.env("push", yes=False)

    assert caught.value.exit_code == 130
    assert laptop.remote.read_text() == OLD


def test_without_input_nobody_is_asked(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)

    assert laptop.env("push", yes=False, interactive=False) == 0

    assert laptop.remote.read_text() == NEW


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SECRET_KEY=\nPOSTGRES_PASSWORD=pass-word-one\n", "requires SECRET_KEY"),
        (NEW + "SIET_HOST=slip-of-the-pen\n", "does not have SIET_HOST"),
        (NEW + "slip-of-the-pen\n", "no NAME=value: 4"),
    ],
)
def test_what_the_example_does_not_allow_is_not_sent(laptop: Laptop, text: str, found: str) -> None:
    laptop.local.write_text(text)
    laptop.remote.write_text(OLD)

    with pytest.raises(Refused) as caught:
        laptop.env("push")

    assert found in caught.value.found
    assert not any(secret in caught.value.found for secret in SECRETS)
    assert "traffic is as it was" in caught.value.traffic
    assert laptop.remote.read_text() == OLD


def test_an_unknown_name_can_be_sent_knowingly(laptop: Laptop) -> None:
    laptop.local.write_text(NEW + "OWN=1\n")

    assert laptop.env("push", allow_unknown=True) == 0


def test_a_push_without_a_file_says_what_to_type(laptop: Laptop) -> None:
    with pytest.raises(Refused, match=r"There is no .*/\.env\.production") as caught:
        laptop.env("push")

    assert caught.value.next.startswith("manage.py remote --server production env pull")


def test_a_push_to_no_directory_points_to_provision(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.parent.rmdir()

    with pytest.raises(Refused) as caught:
        laptop.env("push")

    assert caught.value.next == "manage.py provision"


def test_a_change_by_somebody_else_meanwhile_is_not_lost(
    laptop: Laptop, ssh_server: SshServer
) -> None:
    laptop.remote.write_text(OLD)
    server = Server("production", None, "127.0.0.1", ssh_server.port, str(laptop.remote.parent))

    with ssh_server.connect(server) as connection, pytest.raises(Refused, match="meanwhile"):
        ServerFile(connection, str(laptop.remote)).replace(NEW, expected="SECRET_KEY=theirs\n")

    assert laptop.remote.read_text() == OLD
    assert [path.name for path in laptop.remote.parent.iterdir()] == [".env"]


def test_a_link_stays_a_link(laptop: Laptop) -> None:
    target = laptop.root.parent / "secrets.env"
    target.write_text(OLD)
    laptop.remote.symlink_to(target)
    laptop.local.write_text(NEW)

    laptop.env("push")

    assert laptop.remote.is_symlink()
    assert target.read_text() == NEW


def test_a_server_that_takes_no_more_keeps_the_old_one(laptop: Laptop) -> None:
    full = SshServer(largest_file=65536)
    server = Server("production", None, "127.0.0.1", full.port, str(laptop.remote.parent))
    laptop.remote.write_text(OLD)
    try:
        with full.connect(server) as connection, pytest.raises(StepFailed) as caught:
            ServerFile(connection, str(laptop.remote)).replace(NEW + "#" * 100_000, expected=OLD)
    finally:
        full.destroy()

    assert "df -h" in caught.value.next
    assert laptop.remote.read_text() == OLD
    assert [path.name for path in laptop.remote.parent.iterdir()] == [".env"]


def test_a_pull_writes_privately_and_keeps_what_was_there(laptop: Laptop) -> None:
    laptop.remote.write_text(OLD)
    laptop.local.write_text(NEW)

    assert laptop.env("pull") == 0

    assert laptop.local.read_text() == OLD
    assert mode(laptop.local) == 0o600
    (copy,) = laptop.root.glob(".env.production.before-*")
    assert copy.read_text() == NEW
    assert mode(copy) == 0o600


def test_a_pull_of_nothing_is_refused(laptop: Laptop) -> None:
    with pytest.raises(Refused, match=r"has no .*/\.env"):
        laptop.env("pull")


def test_a_diff_tells_names_and_its_exit_code(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.remote.write_text(OLD)
    laptop.local.write_text(NEW)

    assert laptop.env("diff") == 1
    assert re.match(r"\+ DEBUG\n- OPS_BRANCH\n~ SECRET_KEY\n", capsys.readouterr().out)

    laptop.local.write_text("# a comment\n" + OLD)
    assert laptop.env("diff") == 0


def editor(monkeypatch: pytest.MonkeyPatch, script: str, root: Path) -> None:
    path = root / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(path))


def test_an_edit_is_sent_and_its_file_removed(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    seen = laptop.root / "seen"
    script = (
        f'stat -c "%a %n" "$1" "$(dirname "$1")" >{seen}; sed -i s/OPS_BRANCH=main/DEBUG=1/ "$1"'
    )
    editor(monkeypatch, script, laptop.root)

    assert laptop.env("edit") == 0

    assert laptop.remote.read_text() == OLD.replace("OPS_BRANCH=main", "DEBUG=1")
    file, directory = (line.split(" ", 1) for line in seen.read_text().splitlines())
    assert (file[0], directory[0]) == ("600", "700")
    assert not Path(directory[1]).exists()


@pytest.mark.parametrize(
    ("script", "kind"), [("exit 1", Cancelled), ('echo slip-of-the-pen >>"$1"', Refused)]
)
def test_an_edit_that_may_not_be_sent_leaves_the_servers(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, script: str, kind: type[OpsError]
) -> None:
    laptop.remote.write_text(OLD)
    editor(monkeypatch, script, laptop.root)

    with pytest.raises(kind):
        laptop.env("edit", yes=False)

    assert laptop.remote.read_text() == OLD


def test_an_edit_without_a_change_sends_nothing(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    editor(monkeypatch, "true", laptop.root)

    assert laptop.env("edit") == 0

    assert not laptop.copies()


def test_an_editor_that_is_not_there_is_named(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "no-such-editor")

    with pytest.raises(Refused, match="no-such-editor"):
        laptop.env("edit")
