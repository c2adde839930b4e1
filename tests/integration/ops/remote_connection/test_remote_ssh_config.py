"""What ~/.ssh/config says is done: agents, certificates, the way to a real OpenSSH server."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.ops.remote.asking import Nobody
from apps.ops.remote.connection import connect
from apps.ops.remote.failures import HostKeyRefused, LoginRefused, NotReached, RemoteFailed
from apps.ops.remote.servers import Server
from tests.integration.ops.remote_connection.conftest import USER, Answers, said
from tests.rig.sshd import SshAgent, Sshd, make_key
from tests.servers import HUNG_SECONDS

SITE = Server("test", None, "site", None, "/")


def configure(home: Path, sshd: Sshd, *lines: str) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host site\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {USER}\n"
        + "".join(f"  {line}\n" for line in lines)
    )


def gets_in(ask: Answers | None = None) -> bool:
    return said(connect(SITE, ask=ask or Nobody(), say=print), "echo", "in") == "in\n"


@pytest.fixture
def agent(tmp_path: Path, key: Path) -> Iterator[SshAgent]:
    """Of a password manager: nothing in the environment names it. It holds many keys."""
    others = [make_key(tmp_path / f"other{number}") for number in range(7)]
    agent = SshAgent(tmp_path, *others, key)
    yield agent
    agent.close()


def test_the_agent_of_the_configuration_is_used(sshd: Sshd, home: Path, agent: SshAgent) -> None:
    """Of its keys the one whose public half is named; sshd hangs up after six others."""
    (home / ".ssh" / "id_ed25519").unlink()
    (home / ".ssh" / "id_ed25519.pub").rename(home / "site.pub")
    for only in ("yes", "no"):
        configure(
            home,
            sshd,
            f'IdentityAgent "{agent.socket}" # of the password manager',
            "IdentityFile ~/site.pub",
            f"IdentitiesOnly {only}",
        )
        assert gets_in()


def test_an_agent_that_is_not_there_is_said(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    configure(home, sshd, "IdentityAgent ~/none.sock")
    with pytest.raises(LoginRefused) as refused:
        gets_in()
    assert f"IdentityAgent {home}/none.sock: " in refused.value.output


def sign(authority: Path, key: Path) -> Path:
    """A certificate for a key, of which the server knows the authority only."""
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "ada", "-n", USER, str(key) + ".pub"]
    subprocess.run(argv, check=True, timeout=HUNG_SECONDS)
    return key.with_name(f"{key.name}-cert.pub")


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("ed25519", "beside"),
        ("rsa", "named"),
        ("ecdsa", "of the agent's key"),
        ("ed25519", "in the agent"),
        ("rsa", "in the agent"),
    ],
)
def test_a_certificate_logs_in(home: Path, tmp_path: Path, kind: str, where: str) -> None:
    authority, key = make_key(tmp_path / "authority"), make_key(home / ".ssh" / "mine", kind)
    certificate = sign(authority, key)
    lines = [f"IdentityFile {key}"]
    agent = None
    sshd = Sshd(f"TrustedUserCAKeys {authority}.pub").allow(authority)
    try:
        sshd.start()
        (home / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line())
        if where == "named":
            certificate = certificate.rename(home / "elsewhere.pub")
            lines.append(f"CertificateFile {certificate}")
        elif where != "beside":
            if where == "of the agent's key":
                lines.append(f"CertificateFile {certificate.rename(home / 'elsewhere.pub')}")
            agent = SshAgent(tmp_path, key)
            for path in list(home.glob(".ssh/mine*")):
                path.unlink()
            lines += [f"IdentityAgent {agent.socket}"]
        configure(home, sshd, *lines)
        assert gets_in()
    finally:
        sshd.destroy()
        if agent:
            agent.close()


@pytest.mark.parametrize(
    ("line", "asked"),
    [("accept-new", 0), ("yes", 0), ("no", 1), ("ask", 1)],
)
def test_an_unknown_host_key_is_met_as_configured(
    sshd: Sshd, home: Path, line: str, asked: int
) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    ask = Answers(yes_to_all=True)
    configure(home, sshd, f"StrictHostKeyChecking {line}", "UserKnownHostsFile ~/.ssh/mine")
    if line == "yes":
        with pytest.raises(HostKeyRefused, match="StrictHostKeyChecking is yes"):
            gets_in(ask)
    else:
        assert gets_in(ask)
        assert (home / ".ssh" / "mine").read_text() == sshd.known_hosts_line()
    assert len(ask.asked) == asked
    sshd.change_host_key()
    with pytest.raises(HostKeyRefused):
        gets_in(ask)


def test_each_jump_of_a_chain_is_configured_as_itself(sshd: Sshd, home: Path) -> None:
    first, second = (Sshd().allow(home / ".ssh" / "id_ed25519") for _ in range(2))
    try:
        for hop in (first, second):
            hop.start()
            with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
                known_hosts.write(hop.known_hosts_line())
        # The hop before the last is told, and so that host's own way is not gone.
        configure(home, sshd, f"ProxyJump one,{USER}@two")
        with (home / ".ssh" / "config").open("a") as config:
            for name, hop in (("one", first), ("two", second)):
                config.write(f"Host {name}\n  HostName 127.0.0.1\n  Port {hop.port} # ours\n")
            config.write("  ProxyCommand false\n")
        assert gets_in()
        assert "Accepted publickey" in first.log()
        assert "Accepted publickey" in second.log()
    finally:
        first.destroy()
        second.destroy()


def test_a_proxy_command_is_a_shells(
    sshd: Sshd, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    through = "python3 -m tests.integration.ops.through %p"
    configure(home, sshd, f"ProxyCommand sh -c 'echo \"$0\" >&2; exec {through}' %h-%n-%r")
    assert gets_in()
    assert f"127.0.0.1-site-{USER}" in capfd.readouterr().err


def test_a_proxy_command_that_ends_is_said_at_once(sshd: Sshd, home: Path) -> None:
    configure(home, sshd, "ProxyCommand no-such-program %h %p 2>/dev/null")
    with pytest.raises(NotReached, match=r"ProxyCommand `no-such-program 127.0.0.1 .* leads to"):
        gets_in()


def test_the_family_and_the_own_address_are_those_of_the_configuration(
    sshd: Sshd, home: Path
) -> None:
    configure(home, sshd, "BindAddress 127.0.0.3", "AddressFamily inet", "ConnectTimeout 5")
    with connect(SITE, ask=Nobody(), say=print) as connection:
        seen = connection.run(["sh", "-c", "echo $SSH_CONNECTION"], seconds=HUNG_SECONDS).output
    assert seen.startswith("127.0.0.3 ")
    configure(home, sshd, "AddressFamily inet6")
    with pytest.raises(RemoteFailed, match="over IPv6"):
        gets_in()


def test_algorithms_are_those_of_the_configuration(sshd: Sshd, home: Path, key: Path) -> None:
    configure(
        home, sshd, "Ciphers aes256-ctr", "MACs hmac-sha2-512", "KexAlgorithms ecdh-sha2-nistp256"
    )
    with connect(SITE, ask=Nobody(), say=print) as connection:
        link = connection._links[0]
        assert (link.local_cipher, link.local_mac) == ("aes256-ctr", "hmac-sha2-512")
    configure(home, sshd, "PubkeyAcceptedAlgorithms rsa-sha2-256")
    with pytest.raises(LoginRefused) as refused:
        gets_in()
    assert "PubkeyAcceptedAlgorithms has no ssh-ed25519" in refused.value.output
    sshd.allow(make_key(home / ".ssh" / "id_rsa", "rsa"))
    assert gets_in()
    assert "Accepted publickey" in sshd.log()


def test_what_cannot_be_followed_is_said_before_anything_is_sent(sshd: Sshd, home: Path) -> None:
    configure(home, sshd, "PreferredAuthentications gssapi-with-mic")
    with pytest.raises(RemoteFailed, match=r"no way to log in .* Nothing was sent"):
        gets_in()
    assert "Connection from" not in sshd.log()


def test_what_is_not_followed_is_said_once(sshd: Sshd, home: Path) -> None:
    configure(home, sshd, "ControlPath ~/.ssh/%C")
    heard: list[str] = []
    connect(SITE, ask=Nobody(), say=heard.append).close()
    assert len(heard) == 1
    assert heard[0].startswith("ControlPath is not used")


def test_a_key_that_others_can_read_is_not_offered(sshd: Sshd, home: Path, key: Path) -> None:
    key.chmod(0o644)
    configure(home, sshd)
    with pytest.raises(LoginRefused) as refused:
        gets_in()
    assert f"{key}: not offered, because others can read it (chmod 600 {key})" in (
        refused.value.output
    )


def test_each_key_that_could_not_be_offered_is_said(sshd: Sshd, home: Path, key: Path) -> None:
    key.unlink()
    kind = b"sk-ssh-ed25519@openssh.com"
    (home / "token").write_text("what only a hardware key understands")
    blob = b64encode(len(kind).to_bytes(4) + kind).decode()
    (home / "token.pub").write_text(f"{kind.decode()} {blob} ada\n")
    lines = [f"IdentityFile ~/{name}" for name in (".ssh/id_ed25519.pub", "none-here", "token")]
    configure(home, sshd, *lines)
    with pytest.raises(LoginRefused, match="there is no key to offer") as refused:
        gets_in()
    assert refused.value.output.splitlines() == [
        f"{key}.pub: no agent holds the private half of it",
        f"{home}/none-here: there is no such file",
        f"{home}/token: a hardware key, which only an agent can use here: ssh-add {home}/token",
    ]


def test_batch_mode_asks_nothing(sshd: Sshd, home: Path, key: Path) -> None:
    key.unlink()
    sshd.allow(make_key(key, passphrase="correct horse"))
    configure(home, sshd, "BatchMode yes")
    ask = Answers(secrets=["correct horse"])
    with pytest.raises(LoginRefused):
        gets_in(ask)
    assert not ask.asked
