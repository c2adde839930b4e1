"""`remote env` with a full disk, a link that is cut, odd files, and somebody who presses Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from apps.ops.errors import Refused, StepFailed
from apps.ops.remote.connection import Connection
from apps.ops.remote.env_files import handle_env
from apps.ops.remote.failures import LinkLost
from apps.ops.remote.server_file import ServerFile
from apps.ops.remote.servers import Server
from tests.integration.ops.provisioned_server import SshServer
from tests.integration.ops.remote_env.conftest import NEW, OLD, Laptop
from tests.integration.ops.test_remote_command import Terminal
from tests.rig.sshd import Relay


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A directory on a file system in memory, which other things can fill."""
    with TemporaryDirectory(dir="/dev/shm", prefix="changeover-env-") as directory:
        yield Path(directory)


@pytest.mark.parametrize("pages", [0, 1])
def test_a_full_disk_keeps_the_old_one_and_nothing_half_written(
    laptop: Laptop, ssh_server: SshServer, small_disk: Path, pages: int
) -> None:
    """One page is room for the new one, and not for the copy of the old one."""
    site, filler = small_disk / "site", small_disk / "filler"
    site.mkdir()
    (site / ".env").write_text(OLD)
    laptop.local.write_text(NEW)
    server = Server("production", None, "127.0.0.1", ssh_server.port, str(site))
    with ssh_server.connect(server) as connection, filler.open("wb") as file:
        room = os.statvfs(small_disk)
        os.posix_fallocate(file.fileno(), 0, (room.f_bavail - pages) * room.f_bsize)
        try:
            with pytest.raises(StepFailed) as caught:
                handle_env(connection, server, "push", {"interactive": False})
        finally:
            os.ftruncate(file.fileno(), 0)

    assert caught.value.next == f"On the server: df -h {site}"
    assert "traffic is as it was" in caught.value.traffic
    assert (site / ".env").read_text() == OLD
    assert [path.name for path in site.iterdir()] == [".env"]


def test_a_link_that_is_cut_while_it_is_sent_leaves_the_old_one(
    laptop: Laptop, ssh_server: SshServer
) -> None:
    laptop.remote.write_text(OLD)
    relay = Relay(ssh_server.port)
    server = Server("production", None, "127.0.0.1", ssh_server.port, str(laptop.remote.parent))
    try:
        with ssh_server.connect(server, port=relay.port) as connection:
            file = CutFile(connection, str(laptop.remote), relay)
            with pytest.raises(LinkLost, match="The link was cut") as caught:
                file.replace(NEW, expected=OLD)
    finally:
        relay.close()

    assert caught.value.exit_code == 255
    assert "old one or the new one, whole" in caught.value.traffic
    assert laptop.remote.read_text() == OLD
    (left,) = laptop.remote.parent.glob(".env.new-*")
    assert left.stat().st_mode & 0o777 == 0o600

    # What could not be removed then is removed by one that comes through, when it is old enough.
    laptop.local.write_text(NEW)
    assert laptop.env("push") == 0
    assert left.exists()
    os.utime(left, (0, 0))
    laptop.local.write_text(OLD)
    assert laptop.env("push") == 0
    assert not left.exists()


class CutFile(ServerFile):
    """The link is cut when the new one is written, before it takes the old one's place."""

    def __init__(self, connection: Connection, path: str, relay: Relay) -> None:
        super().__init__(connection, path)
        self._relay = relay

    def _write(self, *args: object, **kwargs: object) -> None:
        super()._write(*args, **kwargs)  # type: ignore[arg-type]
        self._relay.cut()


def test_two_pushes_in_one_second_keep_both_copies(laptop: Laptop) -> None:
    laptop.remote.write_text("FIRST=1\n")
    for text in (OLD, NEW, OLD):
        laptop.local.write_text(text)
        assert laptop.env("push") == 0

    kept = [path.read_text() for path in laptop.copies()]
    assert sorted(kept) == sorted(["FIRST=1\n", OLD, NEW])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + NEW.replace("\n", "\r\n").encode(),
        NEW.rstrip("\n").encode(),
        NEW.encode() + "SECRET_KEY='$5 \"quoted\" ö'\n".encode(),
    ],
    ids=["from Windows", "without a last line's end", "with a dollar and quotes"],
)
def test_what_is_pushed_arrives_byte_for_byte(laptop: Laptop, content: bytes) -> None:
    laptop.local.write_bytes(content)
    laptop.remote.write_bytes(b"")

    assert laptop.env("push") == 0
    assert laptop.remote.read_bytes() == content
    assert laptop.env("diff") == 0

    laptop.local.unlink()
    assert laptop.env("pull") == 0
    assert laptop.local.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "requires SECRET_KEY, POSTGRES_PASSWORD"),
        (b"\x7fELF\xff\xfe", "no UTF-8 text"),
        (NEW.encode() + b"secret_key=slip-of-the-pen\n", "does not have secret_key"),
        (NEW.encode() + b'DEBUG="slip-of-the-pen\n', "as NAME=value: 4"),
        (NEW.encode() + b"DEBUG=slip-of-the-pen${\n", "as NAME=value: 4"),
    ],
)
def test_a_wrong_file_is_refused(laptop: Laptop, content: bytes, found: str) -> None:
    laptop.local.write_bytes(content)
    laptop.remote.write_text(OLD)

    with pytest.raises(Refused, match=found):
        laptop.env("push")

    assert laptop.remote.read_text() == OLD


def test_a_directory_in_its_place_is_refused(laptop: Laptop) -> None:
    laptop.remote.mkdir()

    with pytest.raises(Refused, match=r"\.env is no file"):
        laptop.env("pull")


def test_an_empty_one_can_be_pulled(laptop: Laptop) -> None:
    laptop.remote.write_bytes(b"")

    assert laptop.env("pull") == 0
    assert laptop.local.read_bytes() == b""


def test_ctrl_c_at_the_question_sends_nothing(
    laptop: Laptop, ssh_server: SshServer, tmp_path: Path
) -> None:
    terminal = on_terminal(laptop, ssh_server, tmp_path)

    terminal.until("Type 'yes' to go on: ")

    assert terminal.cancel() == 130
    assert "Nothing was changed on the server; traffic is as it was." in terminal.shown
    assert "Next: manage.py remote --server production env push" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert laptop.remote.read_text() == OLD


def test_a_yes_at_the_question_sends_it(
    laptop: Laptop, ssh_server: SshServer, tmp_path: Path
) -> None:
    terminal = on_terminal(laptop, ssh_server, tmp_path)

    terminal.until("Type 'yes' to go on: ")
    terminal.type("yes\n")

    assert terminal.end() == 0, terminal.shown
    assert laptop.remote.read_text() == laptop.local.read_text()
    assert "new-secret-value" not in terminal.shown


def test_nano_is_opened_where_no_editor_is_wished_and_ctrl_c_is_its_own(
    laptop: Laptop, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    terminal = on_terminal(laptop, ssh_server, tmp_path, "edit")
    laptop.remote.write_text(OLD + "SITE_HOST=www.example.org\n")

    terminal.until("GNU nano")
    terminal.until("SITE_HOST")
    terminal.type("\x03")  # It says where the cursor is.
    terminal.until("line")
    terminal.type("DEBUG=true\r\x0f")
    terminal.until("Write to File")
    terminal.type("\r")
    terminal.until("Wrote")
    terminal.type("\x18")

    assert terminal.end() == 0, terminal.shown
    assert "+ DEBUG" in terminal.shown
    assert laptop.remote.read_text() == f"DEBUG=true\n{OLD}SITE_HOST=www.example.org\n"


def on_terminal(
    laptop: Laptop, ssh_server: SshServer, home: Path, action: str = "push"
) -> Terminal:
    """`remote env` as it is typed; it is checked against this project's own .env.example."""
    laptop.local.write_text(NEW + "SITE_HOST=www.example.org\n")
    laptop.remote.write_text(OLD)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "known_hosts").write_text(ssh_server.known_hosts_line())
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {ssh_server.key}\n")
    environment = {
        **os.environ,
        "HOME": str(home),
        "OPS_SERVERS": f"production=127.0.0.1:{ssh_server.port}{laptop.remote.parent}",
    }
    argv = ["manage.py", "remote", "env", action, "--file", str(laptop.local)]
    return Terminal([sys.executable, *argv], environment)
