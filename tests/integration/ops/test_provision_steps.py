"""Provisioning's steps against a real sshd and a real git remote over SSH, each looked at twice."""

from __future__ import annotations

import json
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apps.ops.dotenv import parse
from apps.ops.errors import Refused
from apps.ops.provision.machine import Machine
from apps.ops.provision.own_keys import own_keys
from apps.ops.provision.steps import container_logs, engine, system, updates
from apps.ops.provision.steps.base import Step, Wish
from apps.ops.provision.steps.clone import Clone
from apps.ops.provision.steps.container_logs import ContainerLogs
from apps.ops.provision.steps.deploy_key import DeployKey
from apps.ops.provision.steps.deploy_user import DeployUser
from apps.ops.provision.steps.env_file import EnvFile
from apps.ops.provision.steps.supervisor import Supervisor
from apps.ops.provision.steps.system import System
from apps.ops.provision.steps.updates import Updates
from apps.ops.remote.servers import Server
from apps.ops.remote.ssh_config import look_up
from tests.conftest import Git
from tests.integration.ops.provisioned_server import SshServer
from tests.rig.sshd import SshAgent, make_key, public

pytestmark = pytest.mark.slow

EXAMPLE = "# Signs\nSECRET_KEY=\nPOSTGRES_PASSWORD=\nSITE_HOST=\n#DEBUG=false\n"


@pytest.fixture(scope="module")
def forge() -> Iterator[SshServer]:
    """Where the repository is: it lets nobody in yet."""
    server = SshServer()
    try:
        yield server
    finally:
        server.destroy()


class Lab:
    """A server whose deploy user is who logs in, and a forge with a repository."""

    def __init__(self, root: Path, machine: Machine, wish: Wish, forge: SshServer) -> None:
        self.root, self.machine, self.wish = root, machine, wish
        self.directory = Path(machine.directory)
        self.said: list[str] = []
        machine.say = self.said.append
        self._keys = forge.directory / "authorized_keys"
        self._keys.write_text("")

    def step[T: Step](self, kind: type[T], **changes: Any) -> T:
        return kind(self.machine, replace(self.wish, **changes))

    def let_the_key_in(self) -> None:
        shutil.copy(self.directory / ".ssh/id_ed25519.pub", self._keys)


@pytest.fixture
def lab(ssh_server: SshServer, forge: SshServer, tmp_path: Path, git: Git) -> Iterator[Lab]:
    git.push("Example", {".env.example": EXAMPLE, ".gitignore": ".env\n.ssh/\n"})
    me = pwd.getpwuid(0).pw_name
    known = tmp_path / "known_hosts"
    known.write_text(forge.known_hosts_line())
    wish = Wish(
        project=tmp_path / "laptop",
        repository=f"ssh://{me}@127.0.0.1:{forge.port}{git.remote}",
        branch="main",
        known_hosts=(tmp_path / "none", known),
        site_host="www.example.org",
        requested_by="ada@laptop",
        own_keys={},
    )
    server = Server("production", me, "127.0.0.1", ssh_server.port, str(tmp_path / "srv/site"))
    with ssh_server.connect(server) as connection:
        yield Lab(tmp_path, ssh_server.machine(connection, server, me), wish, forge)


def done(step: Step) -> str:
    """Do it, and see that a second look finds it there."""
    assert not step.look().there
    summary = step.act()
    assert step.look().there, step.look().summary
    return summary


# --- Each step ------------------------------------------------------------------------------------


def test_a_supported_system_is_recognised(lab: Lab) -> None:
    assert "Debian" in lab.step(System).look().summary


def test_another_system_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "SUPPORTED", {"debian": ("11",)})

    with pytest.raises(Refused, match="This knows Debian 12 and 13"):
        lab.step(System).look()


def test_a_login_that_cannot_become_root_is_told_so(lab: Lab, ssh_server: SshServer) -> None:
    # An account that has a shell and no password; Debian's postgres is one.
    with ssh_server.connect(lab.machine.server, user="postgres") as connection:
        machine = ssh_server.machine(connection, lab.machine.server, "deploy")

        with pytest.raises(Refused, match="sudo") as caught:
            System(machine, lab.wish).look()

    assert caught.value.next.startswith("manage.py provision --server production --login root")


@pytest.fixture
def daemon_json(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = lab.root / "daemon.json"
    monkeypatch.setattr(container_logs, "PATH", str(path))
    return path


def test_log_limits_are_added_to_what_docker_was_told(lab: Lab, daemon_json: Path) -> None:
    daemon_json.write_text('{"data-root": "/data", "log-opts": {"compress": "true"}}')

    summary = done(lab.step(ContainerLogs))

    assert json.loads(daemon_json.read_text()) == {
        "data-root": "/data",
        "log-driver": "json-file",
        "log-opts": {"compress": "true", "max-file": "5", "max-size": "10m"},
    }
    (copy,) = lab.root.glob("daemon.json.before-*")
    assert str(copy) in summary
    assert "data-root" in copy.read_text()


@pytest.mark.parametrize("text", ['{"log-driver": "journald"}', '{"log-opts": {"max-size": "1g"}}'])
def test_log_settings_of_somebody_else_stay(lab: Lab, daemon_json: Path, text: str) -> None:
    daemon_json.write_text(text)

    assert lab.step(ContainerLogs).look().there


@pytest.mark.parametrize("text", ['{"log-driver": ', "[]", '{"log-opts": "10m"}'])
def test_a_daemon_json_that_docker_could_not_read_is_left_alone(
    lab: Lab, daemon_json: Path, text: str
) -> None:
    daemon_json.write_text(text)

    with pytest.raises(Refused, match="nothing is added"):
        lab.step(ContainerLogs).look()

    assert daemon_json.read_text() == text


def test_security_updates_are_configured_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lab.root / "52changeover"
    monkeypatch.setattr(updates, "PATH", str(path))
    monkeypatch.setattr(updates, "PACKAGE", "bash")  # There already: no apt in this test.

    done(lab.step(Updates))

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert 'Automatic-Reboot "false"' in path.read_text()


def test_what_installs_docker_is_sent_from_this_machine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.wish.project / "requirements").mkdir(parents=True)
    (lab.wish.project / "bootstrap").write_text(
        f'echo "bootstrap: $*"; cp "$(dirname "$0")/requirements/bootstrap.txt" {lab.root}/got\n'
    )
    (lab.wish.project / "requirements/bootstrap.txt").write_text("just\n")

    lab.step(engine.Engine).act()

    assert lab.said == ["  bootstrap: --prepare"]
    assert (lab.root / "got").read_text() == "just\n"


def test_the_directory_is_made_for_the_deploy_user(lab: Lab) -> None:
    done(lab.step(DeployUser))

    assert lab.directory.is_dir()


def test_a_login_without_keys_lets_in_the_keys_of_this_machine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a fresh machine with root and a password is.
    key = make_key(lab.root / "laptop/id_ed25519")
    line = " ".join(public(key).split()[:2])
    locked = make_key(lab.root / "laptop/id_rsa", "rsa", passphrase="hunter22")
    alone = make_key(lab.root / "laptop/id_ecdsa", "ecdsa")
    alone.with_suffix(".pub").unlink()
    host = replace(look_up("host"), identities=(key, locked, alone), agent="none")
    keys = own_keys(host)
    assert list(keys.values()) == [str(key), str(locked), str(alone)]
    agent = SshAgent(lab.root, key, make_key(lab.root / "elsewhere"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
    try:
        of_agent = own_keys(replace(host, agent=None, identities=(key,)))
    finally:
        agent.close()
    assert list(of_agent.values()) == [str(key), "ada (agent)"]
    machine = lab.machine
    machine.deploy_user = "changeover-test"  # Not who logs in.
    step = lab.step(DeployUser, own_keys={line: "ada's"})

    planned = step.look().summary
    assert "let in as changeover-test the keys of this machine (ada's), root having none" in planned
    with pytest.raises(Refused, match="nobody could log in") as caught:
        lab.step(DeployUser).look()
    assert caught.value.next.startswith("ssh-keygen")


def test_a_directory_of_somebody_else_is_a_surprise(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    shutil.chown(lab.directory, "nobody")

    with pytest.raises(Refused, match="belongs to nobody"):
        lab.step(DeployUser).look()


def test_the_key_is_printed_until_it_may_read(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    step = lab.step(DeployKey)

    for _ in range(2):
        with pytest.raises(Refused, match="cannot read") as caught:
            step.act()
    assert "read-only deploy key" in caught.value.next
    public = (lab.directory / ".ssh/id_ed25519.pub").read_text().strip()
    # The same one again, and never its other half.
    assert [line for line in lab.said if line] == [public, public]
    assert stat.S_IMODE((lab.directory / ".ssh/id_ed25519").stat().st_mode) == 0o600

    lab.let_the_key_in()
    assert step.look().there


def test_a_forge_that_this_machine_does_not_know_is_refused(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    lab.wish.known_hosts[1].write_text("")

    with pytest.raises(Refused, match="nobody has compared"):
        lab.step(DeployKey).act()


def test_a_forge_with_another_host_key_is_not_talked_to(lab: Lab, ssh_server: SshServer) -> None:
    lab.directory.mkdir(parents=True)
    known = lab.wish.known_hosts[1]
    other = public(ssh_server.host_key).split()[1]
    kind, own = known.read_text().split()[1:]
    known.write_text(known.read_text().replace(own, other))
    assert kind == "ssh-ed25519"

    with pytest.raises(Refused) as caught:
        lab.step(DeployKey).act()

    assert "Host key verification failed" in caught.value.output


@pytest.fixture
def readable(lab: Lab) -> Lab:
    """The forge lets the server's key in."""
    lab.directory.mkdir(parents=True)
    with pytest.raises(Refused):
        lab.step(DeployKey).act()
    lab.let_the_key_in()
    return lab


def test_a_branch_that_is_not_there_is_a_surprise(readable: Lab) -> None:
    with pytest.raises(Refused, match="has no branch trunk"):
        readable.step(DeployKey, branch="trunk").look()


def test_the_clone_is_made_beside_the_key(readable: Lab, git: Git) -> None:
    done(readable.step(Clone))

    assert (readable.directory / ".env.example").read_text() == EXAMPLE
    assert (readable.directory / ".ssh/id_ed25519").exists()
    assert (readable.directory / ".git/HEAD").read_text() == "ref: refs/heads/main\n"


def test_a_clone_that_was_cut_short_is_finished(readable: Lab) -> None:
    readable.machine.user(["git", "init", "--quiet"], directory=str(readable.directory))

    done(readable.step(Clone))


@pytest.mark.parametrize(
    ("prepare", "found"),
    [
        (lambda d: (d / "index.php").write_text(""), "has files: index.php"),
        (lambda d: Git(d.parent.parent / "theirs"), "is a clone of"),
        (
            lambda d: Git(d.parent.parent / "theirs").on_server("remote", "rename", "origin", "up"),
            "without a remote `origin`",
        ),
    ],
)
def test_what_somebody_else_put_there_is_a_surprise(
    lab: Lab, prepare: Callable[[Path], object], found: str
) -> None:
    lab.directory.mkdir(parents=True)
    (lab.root / "theirs").mkdir()
    prepare(lab.directory)
    if (lab.root / "theirs/checkout").exists():
        lab.directory.rmdir()
        (lab.root / "theirs/checkout").rename(lab.directory)

    with pytest.raises(Refused, match=found):
        lab.step(Clone).look()


def test_the_env_file_gets_secrets_of_its_own(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    (lab.directory / ".env.example").write_text(EXAMPLE)

    done(lab.step(EnvFile))

    path = lab.directory / ".env"
    values = parse(path.read_text()).values
    assert values["SITE_HOST"] == "www.example.org"
    assert len(values["SECRET_KEY"]) >= 64
    assert len(values["POSTGRES_PASSWORD"]) == 48
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("# Signs\n")


def test_an_env_file_is_never_overwritten(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    (lab.directory / ".env.example").write_text(EXAMPLE)
    path = lab.directory / ".env"
    path.write_text("SECRET_KEY=theirs\n")

    with pytest.raises(Refused, match="lacks POSTGRES_PASSWORD, SITE_HOST") as caught:
        lab.step(EnvFile).look()

    assert caught.value.next == "manage.py remote --server production env edit"
    assert path.read_text() == "SECRET_KEY=theirs\n"


def test_an_env_file_that_others_could_read_is_closed(lab: Lab) -> None:
    lab.directory.mkdir(parents=True)
    path = lab.directory / ".env"
    path.write_text("SECRET_KEY=theirs\n")
    path.chmod(0o644)

    done(lab.step(EnvFile))

    assert path.read_text() == "SECRET_KEY=theirs\n"


@pytest.mark.parametrize(
    "host",
    ["192.0.2.7", "2001:db8::7", "production", "", "https://example.org", "a.org\nDEBUG=true"],
)
def test_a_site_without_a_name_is_asked_for_one(lab: Lab, host: str) -> None:
    lab.directory.mkdir(parents=True)
    (lab.directory / ".env.example").write_text(EXAMPLE)

    with pytest.raises(Refused) as caught:
        lab.step(EnvFile, site_host=host).act()

    assert caught.value.next == "Give it: --site-host www.example.org"
    assert not (lab.directory / ".env").exists()


def test_supervisor_is_not_there_before_it_is_told(lab: Lab) -> None:
    assert not lab.step(Supervisor).look().there
