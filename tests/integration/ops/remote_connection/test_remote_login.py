"""Who is let in by a real OpenSSH server: keys, the agent, passphrases, passwords."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.ops.remote import attached
from apps.ops.remote.asking import Nobody, Remembering
from apps.ops.remote.connection import Connection, connect
from apps.ops.remote.failures import LinkLost, LoginRefused, NotReached
from apps.ops.remote.servers import Server
from tests.integration.ops.remote_connection.conftest import USER, Answers, at, link, said
from tests.integration.ops.remote_site import Site
from tests.rig.sshd import SshAgent, Sshd, make_key
from tests.servers import HUNG_SECONDS, wait_until

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_an_rsa_key_with_a_passphrase_logs_in_whatever_its_file_looks_like(
    sshd: Sshd, key: Path, form: str
) -> None:
    for path in (key, key.with_name("id_ed25519.pub")):
        path.unlink()
    rsa = make_key(key.with_name("id_rsa"), "rsa", passphrase="correct horse")
    argv = ["ssh-keygen", "-q", "-p", "-m", form, "-P", "correct horse", "-N", "battery staple"]
    subprocess.run([*argv, "-f", str(rsa)], check=True, timeout=HUNG_SECONDS)
    sshd.allow(rsa)
    ask = Answers(secrets=["correct horse", "battery staple"])

    assert said(link(sshd, ask), "echo", "in") == "in\n"
    assert ask.asked == [f"Passphrase of {rsa}"] * 2


def test_a_key_in_a_form_that_is_not_read_is_said_with_what_rewrites_it(
    sshd: Sshd, key: Path
) -> None:
    for path in (key, key.with_name("id_ed25519.pub")):
        path.unlink()
    rsa = make_key(key.with_name("id_rsa"), "rsa", passphrase="correct horse")
    argv = ["ssh-keygen", "-q", "-p", "-m", "PKCS8", "-P", "correct horse", "-N", "correct horse"]
    subprocess.run([*argv, "-f", str(rsa)], check=True, timeout=HUNG_SECONDS)

    with pytest.raises(LoginRefused) as refused:
        link(sshd, Answers(secrets=["correct horse"]))

    assert refused.value.output.startswith(f"{rsa}: not read: ")
    assert refused.value.output.endswith(f"(ssh-keygen -p -f {rsa} writes it anew)")


@pytest.fixture
def ada() -> Iterator[str]:
    """A user of this machine, which is a container, with a password and in Docker's group."""
    name, group = "changeover-ada", str(Path("/var/run/docker.sock").stat().st_gid)
    argv = ["groupadd", "--non-unique", "--gid", group, "changeover-docker"]
    subprocess.run(argv, check=True)
    argv = ["useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--gid", group]
    subprocess.run([*argv, name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:correct horse\n", text=True, check=True)
        yield name
    finally:
        # By force: the number can be that of a package's group, too.
        for argv in (["userdel", name], ["groupdel", "changeover-docker"]):
            subprocess.run([argv[0], "--force", argv[1]], check=True, stderr=subprocess.DEVNULL)


PASSWORD = ("PasswordAuthentication yes",)
# PAM asks; what it asks is the server's to decide.
KEYBOARD = ("UsePAM yes", "KbdInteractiveAuthentication yes")


@pytest.fixture
def asking(home: Path, key: Path) -> Iterator[Callable[..., Sshd]]:
    """An sshd with these settings, which lets in no key."""
    servers: list[Sshd] = []

    def start(*settings: str) -> Sshd:
        server = Sshd(*settings).allow()
        servers.append(server)
        # A key is read as the user that it is for.
        server.directory.chmod(0o755)
        server.start()
        (home / ".ssh" / "known_hosts").write_text(server.known_hosts_line())
        return server

    yield start
    for server in servers:
        server.destroy()


def log_in(server: Sshd, user: str, ask: Answers | Nobody) -> Connection:
    return connect(at(server.port, user=user), ask=ask, say=print)


@pytest.mark.parametrize("settings", [PASSWORD, KEYBOARD])
def test_a_password_is_asked_for_until_it_is_right(
    asking: Callable[..., Sshd], ada: str, settings: tuple[str, ...]
) -> None:
    server = asking(*settings, "PerSourcePenalties no")
    ask = Answers(secrets=["wrong", "correct horse"])

    assert said(log_in(server, ada, ask), "id", "--user", "--name") == f"{ada}\n"
    assert ask.asked == [f"Password of {ada}@127.0.0.1"] * 2


@pytest.mark.parametrize("settings", [PASSWORD, KEYBOARD])
def test_a_password_that_is_never_right_is_refused(
    asking: Callable[..., Sshd], ada: str, settings: tuple[str, ...]
) -> None:
    server = asking(*settings, "PerSourcePenalties no")
    ask = Answers(secrets=["wrong", "wronger", "wrongest", "correct horse"])

    with pytest.raises(LoginRefused, match="and what was typed was not right") as refused:
        log_in(server, ada, ask)

    assert len(ask.asked) == 3
    assert "wrong" not in refused.value.found.replace("was not right", "")
    assert refused.value.exit_code == 255


@pytest.mark.parametrize("settings", [PASSWORD, KEYBOARD])
def test_where_nobody_can_type_no_password_is_tried(
    asking: Callable[..., Sshd], ada: str, settings: tuple[str, ...]
) -> None:
    server = asking(*settings, "PerSourcePenalties no")

    with pytest.raises(LoginRefused, match="of 1 keys none is accepted"):
        log_in(server, ada, Nobody())

    assert "Failed password" not in server.log()
    assert "error: PAM" not in server.log()


def test_a_key_and_a_password_can_both_be_asked_for(
    asking: Callable[..., Sshd], ada: str, key: Path
) -> None:
    server = asking(*PASSWORD, "AuthenticationMethods publickey,password").allow(key)
    ask = Answers(secrets=["correct horse"])

    assert said(log_in(server, ada, ask), "echo", "in") == "in\n"
    assert ask.asked == [f"Password of {ada}@127.0.0.1"]


@pytest.mark.parametrize("settings", [(), PASSWORD, KEYBOARD])
def test_an_unknown_user_is_refused_as_any_other(
    asking: Callable[..., Sshd], settings: tuple[str, ...]
) -> None:
    server = asking(*settings, "PerSourcePenalties no")

    with pytest.raises(LoginRefused, match="refuses the login as no-such-user") as refused:
        log_in(server, "no-such-user", Answers(secrets=["correct horse"]))

    assert refused.value.next.startswith(f"ssh-copy-id -p {server.port} no-such-user@127.0.0.1")


def test_a_server_that_hangs_up_after_too_many_keys_is_said(
    asking: Callable[..., Sshd], home: Path
) -> None:
    server = asking("MaxAuthTries 2", "PerSourcePenalties no")
    for kind in ("rsa", "ecdsa"):
        make_key(home / ".ssh" / f"id_{kind}", kind)

    with pytest.raises(
        LinkLost, match=r"hung up or fell silent before .* after too many keys"
    ) as lost:
        link(server)

    assert "id_rsa" in lost.value.output


def test_a_server_that_does_not_listen_after_failed_logins_is_said(
    asking: Callable[..., Sshd],
) -> None:
    server = asking("PerSourcePenalties authfail:600s min:1s")
    with pytest.raises(LoginRefused):
        link(server)
    refused: list[str] = []

    def is_penalized() -> bool:
        try:
            link(server)
        except NotReached as error:
            refused.append(f"{error.found} {error.next}")
        except LoginRefused:
            pass
        return bool(refused)

    wait_until(is_penalized)
    assert "does not begin to speak SSH" in refused[0]
    assert "'Not allowed at this time' it says after failed logins: then wait" in refused[0]


def test_who_logs_in_needs_no_rights_of_root(
    asking: Callable[..., Sshd], ada: str, key: Path
) -> None:
    """`remote` runs docker, in whose group the deploy user is; sudo need not even be installed."""
    assert shutil.which("sudo") is None
    site = Site(Path(tempfile.mkdtemp(prefix="changeover-")) / "site")
    site.directory.parent.chmod(0o755)
    server = asking("UsePAM yes").allow(key)
    try:
        there = Server("test", ada, "127.0.0.1", server.port, str(site.directory))
        with connect(there, ask=Nobody(), say=print) as connection:
            done = attached.capture(connection, ["status"], by="ada@laptop")
            uid = connection.run(["id", "--user"], seconds=HUNG_SECONDS).output
    finally:
        site.destroy()
        shutil.rmtree(site.directory.parent)

    assert uid.strip() != "0"
    assert (done.code, json.loads(done.output)["by"]) == (0, "ada@laptop"), done.errors
