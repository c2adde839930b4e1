"""Commands and files over a link, and what a lost link looks like."""

from __future__ import annotations

from pathlib import Path
from threading import Timer

import pytest

from apps.ops.remote import connection as connections
from apps.ops.remote.asking import Nobody
from apps.ops.remote.connection import Size, connect
from apps.ops.remote.failures import (
    LinkLost,
    RemoteFailed,
    TookTooLong,
)
from tests.integration.ops.remote_connection.conftest import at, link
from tests.rig.sshd import Relay, Sshd
from tests.servers import HUNG_SECONDS

HOSTILE = [
    "a b",
    "",
    "'",
    '"',
    "$HOME",
    "`id`",
    "; false",
    "\\",
    "*",
    "two\nlines",
    "ö",
    "-n",
    "!x",
]


def test_a_command_comes_back_with_its_code_and_both_outputs(sshd: Sshd) -> None:
    heard: list[str] = []
    with link(sshd) as connection:
        done = connection.run(
            ["sh", "-c", "echo out; echo err >&2; exit 7"], seconds=HUNG_SECONDS, say=heard.append
        )
    assert done == (7, "out\n", "err\n")
    assert sorted(heard) == ["err", "out"]


def test_arguments_arrive_as_they_are(sshd: Sshd) -> None:
    with link(sshd) as connection:
        done = connection.run(["printf", "%s\\0", *HOSTILE], seconds=HUNG_SECONDS)
    assert done.output.split("\0")[:-1] == HOSTILE


def test_a_command_reads_what_it_is_given_and_else_nothing(sshd: Sshd) -> None:
    with link(sshd) as connection:
        big = b"0123456789" * 300_000
        assert connection.run(["wc", "-c"], seconds=HUNG_SECONDS, stdin=big).output == "3000000\n"
        assert connection.run(["wc", "-c"], seconds=HUNG_SECONDS).output == "0\n"


def test_much_on_both_outputs_at_once_blocks_neither(sshd: Sshd) -> None:
    script = "head -c 5000000 /dev/zero >&2 & head -c 5000000 /dev/zero; wait"
    with link(sshd) as connection:
        done = connection.run(["sh", "-c", script], seconds=HUNG_SECONDS)
    assert (done.code, len(done.output), len(done.errors)) == (0, 5_000_000, 5_000_000)


def test_a_terminal_has_the_size_it_is_given(sshd: Sshd) -> None:
    heard = bytearray()
    with link(sshd) as connection:
        connection.stream(
            ["stty", "size"],
            on_stdout=heard.extend,
            on_stderr=heard.extend,
            tty=lambda: Size(97, 31),
        )
    assert bytes(heard).strip() == b"31 97"


def test_a_command_that_does_not_end_is_given_up_at_its_deadline(sshd: Sshd) -> None:
    with link(sshd) as connection:
        with pytest.raises(TookTooLong, match=r"has not ended within 0\.5 s"):
            connection.run(["sleep", "600"], seconds=0.5)
        assert connection.run(["echo", "still"], seconds=HUNG_SECONDS).output == "still\n"


def test_files_go_there_and_back(sshd: Sshd, tmp_path: Path) -> None:
    with link(sshd) as connection, connection.sftp() as files:
        with files.open(str(tmp_path / "file"), "wb") as file:
            file.write(b"content")
        assert (tmp_path / "file").read_bytes() == b"content"


def test_a_link_that_is_cut_is_lost_and_not_a_commands_end(relay: Relay) -> None:
    with connect(at(relay.port), ask=Nobody(), say=print) as connection:
        timer = Timer(0.5, relay.cut)
        timer.start()
        with pytest.raises(LinkLost, match="is lost") as lost:
            connection.run(["sleep", "600"], seconds=HUNG_SECONDS)
        assert lost.value.next == "manage.py remote --server test status   # once you are connected"
        assert not connection.is_alive


def test_a_link_that_fell_silent_is_found_out(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connections.ASK_ALIVE_SECONDS + connections.ANSWER_SECONDS < 30
    monkeypatch.setattr(connections, "ASK_ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 1.0)
    with connect(at(relay.port), ask=Nobody(), say=print) as connection:
        timer = Timer(0.5, relay.fall_silent)
        timer.start()
        with pytest.raises(LinkLost):
            connection.run(["sleep", "600"], seconds=HUNG_SECONDS)


def test_a_link_that_is_silent_from_the_start_is_lost_too(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SESSION_SECONDS", 1.0)
    with connect(at(relay.port), ask=Nobody(), say=print) as connection:
        relay.fall_silent()
        with pytest.raises(LinkLost):
            connection.run(["true"], seconds=HUNG_SECONDS)


def test_a_server_that_opens_no_session_is_no_lost_link(home: Path, key: Path) -> None:
    sshd = Sshd("MaxSessions 0").allow(key)
    try:
        sshd.start()
        (home / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line())
        with link(sshd) as connection:
            with pytest.raises(RemoteFailed, match="opens no session") as failed:
                connection.run(["true"], seconds=HUNG_SECONDS)
            assert not isinstance(failed.value, LinkLost)
    finally:
        sshd.destroy()


def test_a_quiet_command_on_a_good_link_is_waited_for(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ASK_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 5.0)
    with connect(at(relay.port), ask=Nobody(), say=print) as connection:
        assert connection.run(["sleep", "2"], seconds=HUNG_SECONDS).code == 0
