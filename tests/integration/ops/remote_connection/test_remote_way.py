"""The way to a server: names, ports, the user's ssh_config, hosts in between."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Timer

import pytest

from apps.ops.remote.asking import Nobody
from apps.ops.remote.connection import connect
from apps.ops.remote.failures import (
    HostKeyRefused,
    NameNotFound,
    NotReached,
    RemoteFailed,
)
from apps.ops.remote.servers import Server
from tests.integration.ops.remote_connection.conftest import USER, at, said
from tests.rig.sshd import Sshd
from tests.servers import HUNG_SECONDS, free_port


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
