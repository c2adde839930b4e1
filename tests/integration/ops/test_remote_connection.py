"""A real OpenSSH server: who is let in, what is refused, and what a lost link looks like."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

import pytest

from apps.ops.remote import connection as connections
from apps.ops.remote.asking import Nobody, Remembering
from apps.ops.remote.connection import Connection, Size, connect
from apps.ops.remote.failures import (
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    NameNotFound,
    NotReached,
    RemoteFailed,
    TookTooLong,
)
from apps.ops.remote.servers import Server
from tests.conftest import HUNG_SECONDS, free_port
from tests.rig.sshd import Relay, SshAgent, Sshd, make_key

USER = getpass.getuser()
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


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_each_kind_of_key_logs_in(sshd: Sshd, home: Path, key: Path, kind: str) -> None:
    for path in home.glob(".ssh/id_*"):
        path.unlink()
    sshd.allow(make_key(home / ".ssh" / f"id_{kind}", kind))
    assert said(link(sshd), "echo", "in") == "in\n"


def test_a_passphrase_is_asked_for_until_it_is_right(sshd: Sshd, home: Path, key: Path) -> None:
    key.unlink()
    sshd.allow(make_key(key, passphrase="correct horse"))
    ask = Answers(secrets=["wrong", "correct horse"])
    assert said(link(sshd, ask), "echo", "in") == "in\n"
    assert ask.asked == [f"Passphrase of {key}"] * 2


def test_a_passphrase_is_asked_for_once_however_often_the_link_is_made(
    sshd: Sshd, key: Path
) -> None:
    key.unlink()
    sshd.allow(make_key(key, passphrase="correct horse"))
    typed = Answers(secrets=["correct horse"])
    ask = Remembering(typed)
    for _ in range(2):
        ask.again()
        connect(at(sshd.port), ask=ask, say=print).close()
    assert len(typed.asked) == 1


def test_a_passphrase_that_nobody_can_type_is_said(sshd: Sshd, key: Path) -> None:
    key.unlink()
    sshd.allow(make_key(key, passphrase="correct horse"))
    with pytest.raises(LoginRefused) as refused:
        link(sshd)
    assert "there is no key to offer" in refused.value.found
    assert refused.value.output == f"{key}: not offered: it has a passphrase"
    assert "ssh-add" in refused.value.next
    assert refused.value.exit_code == 255


def test_the_agents_key_logs_in_and_asks_nothing(
    sshd: Sshd, home: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = SshAgent(tmp_path, key)
    try:
        key.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
        assert said(link(sshd), "echo", "in") == "in\n"
    finally:
        agent.close()


def test_the_configured_key_goes_before_the_agents_many(
    sshd: Sshd, home: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd hangs up after six."""
    others = [make_key(home / f"other{number}") for number in range(8)]
    agent = SshAgent(tmp_path, *others, key)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
        assert said(link(sshd), "echo", "in") == "in\n"
    finally:
        agent.close()


def test_a_dead_agent_is_no_hindrance(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        monkeypatch.setattr("apps.ops.remote.login.AGENT_SECONDS", 0.2)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "silent.sock"))
        assert said(link(sshd), "echo", "in") == "in\n"


def test_a_wrong_key_is_refused_and_named(sshd: Sshd, home: Path, key: Path) -> None:
    sshd.allow(make_key(home / "another"))
    with pytest.raises(LoginRefused, match="of 1 keys none is accepted") as refused:
        link(sshd)
    assert str(key) in refused.value.output
    assert refused.value.next.startswith(f"ssh-copy-id -p {sshd.port} {USER}@127.0.0.1")


def test_an_unknown_host_is_shown_asked_about_and_recorded(sshd: Sshd, home: Path) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text("# mine, without a newline")
    ask, heard = Answers(yes_to_all=True), list[str]()
    connect(at(sshd.port), ask=ask, say=heard.append).close()
    assert sshd.fingerprint in heard[0]
    assert known_hosts.read_text() == f"# mine, without a newline\n{sshd.known_hosts_line()}"
    link(sshd).close()  # Without anybody to ask.


@pytest.mark.parametrize("ask", [Nobody(), Answers()])
def test_an_unknown_host_that_is_not_accepted_gets_nothing(
    sshd: Sshd, home: Path, ask: Answers | Nobody
) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    with pytest.raises(HostKeyRefused, match=r"unknown and was not accepted\. Nothing was sent"):
        link(sshd, ask)
    assert not (home / ".ssh" / "known_hosts").exists()


def test_a_changed_host_key_is_refused_with_the_line_that_has_the_old_one(
    sshd: Sshd, home: Path
) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text(f"# comment\n\n{sshd.known_hosts_line()}")
    was = sshd.fingerprint
    sshd.change_host_key()
    with pytest.raises(HostKeyRefused, match="HAS CHANGED") as refused:
        link(sshd, Answers(yes_to_all=True))
    assert sshd.fingerprint in refused.value.found
    assert refused.value.output == f"{known_hosts}, line 3: ed25519 {was}"
    assert refused.value.next.startswith(f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'")


def test_a_hashed_name_is_recognized(sshd: Sshd, home: Path) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    argv = ["ssh-keygen", "-H", "-f", str(known_hosts)]
    subprocess.run(argv, check=True, capture_output=True, timeout=HUNG_SECONDS)
    assert "127.0.0.1" not in known_hosts.read_text()
    link(sshd).close()


def test_a_revoked_host_key_is_refused(sshd: Sshd, home: Path) -> None:
    line = sshd.known_hosts_line()
    (home / ".ssh" / "known_hosts").write_text(f"{line}@revoked * {line.split(' ', 1)[1]}")
    with pytest.raises(HostKeyRefused, match=r"revoked: .*line 2"):
        link(sshd, Answers(yes_to_all=True))


def test_ssh_config_says_where_the_host_is(sshd: Sshd, home: Path, key: Path) -> None:
    key.rename(home / "elsewhere")
    key.with_name("id_ed25519.pub").rename(home / "elsewhere.pub")
    (home / ".ssh" / "config").write_text("Include more/*.conf\nHost *\n  User nobody-here\n")
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "site.conf").write_text(
        f"Host site\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {USER}\n"
        "  IdentityFile ~/elsewhere\n  IdentitiesOnly yes\n"
    )
    server = Server("test", None, "site", None, "/")
    assert said(connect(server, ask=Nobody(), say=print), "echo", "in") == "in\n"


def test_a_jump_host_is_gone_through_and_its_key_is_verified_too(sshd: Sshd, home: Path) -> None:
    with_jump = Sshd().allow(home / ".ssh" / "id_ed25519")
    try:
        with_jump.start()
        (home / ".ssh" / "config").write_text(
            f"Host site\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyJump {USER}@jump\n"
            f"Host jump\n  HostName 127.0.0.1\n  Port {with_jump.port}\n"
        )
        server = Server("test", USER, "site", None, "/")
        with pytest.raises(HostKeyRefused, match=str(with_jump.port)):
            connect(server, ask=Nobody(), say=print)
        with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
            known_hosts.write(with_jump.known_hosts_line())
        # What the server sees is the jump host's address and port.
        seen = said(connect(server, ask=Nobody(), say=print), "sh", "-c", "echo $SSH_CONNECTION")
        assert seen.split()[3] == str(sshd.port)
        sshd.kill()
        with pytest.raises(NotReached, match=f"does not get through to 127.0.0.1 port {sshd.port}"):
            connect(server, ask=Nobody(), say=print)
    finally:
        with_jump.destroy()


def test_a_jump_that_leads_to_itself_ends(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(RemoteFailed, match="leads back to itself"):
        connect(at(22, host="a"), ask=Nobody(), say=print)


def test_a_proxy_command_is_the_link(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host site\n  HostKeyAlias [127.0.0.1]:{sshd.port}\n"
        f"  ProxyCommand python3 -m tests.integration.ops.through {sshd.port}\n"
    )
    server = Server("test", USER, "site", None, "/")
    assert said(connect(server, ask=Nobody(), say=print), "echo", "in") == "in\n"


def test_a_name_that_leads_nowhere_is_dns(home: Path) -> None:
    with pytest.raises(NameNotFound, match="DNS: the name no-such-host"):
        connect(at(22, host="no-such-host.invalid"), ask=Nobody(), say=print)


def test_a_port_where_nothing_listens_is_tcp(home: Path) -> None:
    with pytest.raises(NotReached, match=r"TCP: .*the connection was refused"):
        connect(at(free_port()), ask=Nobody(), say=print)


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 5000])
def test_what_does_not_speak_ssh_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    monkeypatch.setattr("apps.ops.remote.reach.HANDSHAKE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HUNG_SECONDS)
        port = listener.getsockname()[1]
        timer = Timer(0.0, lambda: listener.accept()[0].sendall(greeting))
        timer.start()
        with pytest.raises(NotReached, match="does not begin to speak SSH"):
            connect(at(port), ask=Nobody(), say=print)
        timer.join()


def test_a_known_hosts_that_cannot_be_read_refuses(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    (home / ".ssh" / "known_hosts").mkdir()
    with pytest.raises(HostKeyRefused, match="cannot be read"):
        link(sshd)


@pytest.fixture
def relay(sshd: Sshd, home: Path) -> Iterator[Relay]:
    relay = Relay(sshd.port)
    with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
        known_hosts.write(sshd.known_hosts_line(relay.port))
    yield relay
    relay.close()


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
