"""A plain Debian machine becomes a server: sshd, apt, ufw, and a Docker engine of its own.

The machine is a container; the site that is deployed on it is a small one, so that what takes long
elsewhere (the real images) is not built here again.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from apps.ops.errors import Refused
from apps.ops.provision.machine import Machine
from apps.ops.provision.plan import Tally, walk
from apps.ops.provision.steps import STEPS
from apps.ops.provision.steps.base import Wish
from apps.ops.remote.connection import Connection
from apps.ops.remote.servers import Server
from tests.conftest import HUNG_SECONDS

ROOT = Path(__file__).parents[2]
# Debian 13, and on this machine already.
IMAGE = "python:3.13-slim-trixie"
PORT = 2222
INSTALL_SECONDS = 600.0
# What a cloud's image has: sshd, and a user who may use sudo without a password.
PREPARE = f"""\
set -eu
export DEBIAN_FRONTEND=noninteractive
# A machine's engine may make control groups; a container's may not before this.
for groups in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    mount -o remount,bind,rw "$groups" 2>/dev/null || true
done
apt-get update -q=2
apt-get install -q=2 -y --no-install-recommends git openssh-server sudo
echo 'Port {PORT}' >/etc/ssh/sshd_config.d/port.conf
useradd --create-home --shell /bin/bash --password '*' admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
useradd --create-home --password '*' git
for user in admin git; do install -d -m 700 -o "$user" "/home/$user/.ssh"; done
cat >/home/admin/.ssh/authorized_keys
mkdir -p /run/sshd
/usr/sbin/sshd
cat /etc/ssh/ssh_host_ed25519_key.pub
"""
# Who runs `utility` brings up the colour: what a deployment does, as far as the step looks.
SITE = {
    ".env.example": "SECRET_KEY=\nPOSTGRES_PASSWORD=\nSITE_HOST=\n"
    "COMPOSE_FILE=compose.prod.yml\nCOMPOSE_PROJECT_NAME=site\n",
    ".gitignore": ".env\n.env.*\n!.env.example\n.ssh/\n",
    "Dockerfile": f"FROM {IMAGE}\nWORKDIR /app\nCOPY manage.py .\n",
    "manage.py": "import sys; print('deploying as', sys.argv[1:])\n",
    # Without a network: in a container, an engine may not set up one.
    "compose.prod.yml": f"""\
services:
  django-a:
    image: {IMAGE}
    pull_policy: never
    init: true
    network_mode: none
    command: sleep infinity
  utility:
    network_mode: none
    image: site:utility
    build: .
    pull_policy: never
    depends_on: [django-a]
    environment: {{BY: "${{USER}}", AT: "${{PWD}}"}}
""",
    "docker/standins/ensure": "#!/bin/sh\n",
}


def run(*argv: str, stdin: bytes = b"", seconds: float = INSTALL_SECONDS) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


class Box:
    """The machine, and what a developer's laptop knows of it."""

    def __init__(self, laptop: Path) -> None:
        self.name = f"changeover-provision-{uuid.uuid4().hex[:6]}"
        self._laptop = laptop
        laptop.mkdir()

    def start(self) -> None:
        laptop = self._laptop
        # All that --privileged would give, but for what a container on some machines may not have.
        caps = ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]
        for option in ("apparmor", "seccomp"):
            caps += ["--security-opt", f"{option}=unconfined"]
        # An engine's files cannot lie on a container's own overlay.
        volume = ["--volume", "/var/lib/docker"]
        run("docker", "run", "-d", "--init", "--name", self.name, *caps, *volume, IMAGE,
            "sleep", "infinity")  # fmt: skip
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(laptop / "key"))
        public = (laptop / "key.pub").read_bytes()
        self.host_key = self.sh(PREPARE, stdin=public).splitlines()[-1].split()[1]
        form = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
        address = run("docker", "inspect", "--format", form, self.name).strip()
        self.server = Server("production", "deploy", address, PORT, "/srv/site")
        (laptop / "known_hosts").write_text(f"[127.0.0.1]:{PORT} ssh-ed25519 {self.host_key}\n")

    def sh(self, script: str, stdin: bytes = b"") -> str:
        return run("docker", "exec", "-i", self.name, "sh", "-c", script, stdin=stdin)

    def wish(self) -> Wish:
        return Wish(
            project=ROOT,
            # The forge is on the machine itself: one sshd is enough to be let in or not.
            repository=f"ssh://git@127.0.0.1:{PORT}/home/git/site.git",
            branch="main",
            known_hosts=(self._laptop / "known_hosts",),
            site_host="www.example.org",
        )

    def provision(self, said: list[str], *, plan: bool = False, login: str = "admin") -> Tally:
        def say(line: str) -> None:
            said.append(line)
            print(line)  # What pytest shows when it fails.

        with self._connect(login) as connection:
            machine = Machine(connection, self.server, say=say)
            steps = [step(machine, self.wish()) for step in STEPS]
            return walk(steps, only_look=plan, say=say)

    def _connect(self, login: str) -> Connection:
        transport = paramiko.Transport((self.server.host, PORT))
        known = paramiko.Ed25519Key(data=base64.b64decode(self.host_key))
        key = paramiko.Ed25519Key.from_private_key_file(str(self._laptop / "key"))
        transport.connect(hostkey=known, username=login, pkey=key)
        return Connection(self.server, [transport])

    def put_site(self, site: Path) -> None:
        for name, text in SITE.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
        (site / "docker/standins/ensure").chmod(0o755)
        run("cp", "-r", str(ROOT / "docker/supervisor"), str(site / "docker"))
        archive = run_bytes("tar", "-C", str(site), "-c", ".")
        self.sh(
            "set -e; mkdir /tmp/site; cd /tmp/site; tar -x; git init -q -b main; git add -A; "
            "git -c user.name=a -c user.email=a@example.org commit -qm First; "
            "git clone -q --bare . /home/git/site.git; chown -R git: /home/git/site.git",
            stdin=archive,
        )


def run_bytes(*argv: str) -> bytes:
    return subprocess.run(argv, capture_output=True, timeout=HUNG_SECONDS, check=True).stdout


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "laptop")
    try:
        box.start()
        (tmp_path / "site").mkdir()
        box.put_site(tmp_path / "site")
        yield box
    finally:
        run("docker", "rm", "--force", "--volumes", box.name, seconds=HUNG_SECONDS)


def test_a_plain_machine_becomes_a_server_and_a_second_run_changes_nothing(box: Box) -> None:
    said: list[str] = []
    assert box.provision(said, plan=True) == Tally(there=1, done=len(STEPS) - 1)
    assert box.sh("ls /etc/docker /srv/site 2>/dev/null || true") == ""

    # It stops until its key may read the repository.
    with pytest.raises(Refused) as caught:
        box.provision(said)
    assert "read-only deploy key" in caught.value.next
    public = next(line.strip() for line in said if line.strip().startswith("ssh-ed25519"))
    box.sh("cat >/home/git/.ssh/authorized_keys; chown -R git: /home/git/.ssh", public.encode())
    # No registry is asked for what this machine has.
    save = f"docker save {IMAGE} | docker exec -i {box.name} docker load"
    run("sh", "-c", save)

    after: list[str] = []
    assert box.provision(after).done == 4, "\n".join(after)
    assert any("deploying as ['deploy']" in line for line in after)

    again: list[str] = []
    files = "find /etc /srv/site -type f -newer /tmp/before"
    box.sh("touch /tmp/before")
    assert box.provision(again) == Tally(there=len(STEPS), done=0), "\n".join(again)
    assert box.sh(files) == ""

    # The way in that was used stays open, beside what a site needs.
    rules = box.sh("ufw status")
    assert all(f"{port} " in rules for port in ("22/tcp", "2222/tcp", "80/tcp", "443/udp")), rules
    # Who could provision may log in as the deploy user, and that one is not root.
    with pytest.raises(Refused, match="sudo asks deploy for a password"):
        box.provision([], login="deploy")
    # A plan says what a server has lost.
    box.sh("supervisorctl stop stack")
    lacking: list[str] = []
    assert box.provision(lacking, plan=True) == Tally(there=len(STEPS) - 1, done=1)
    assert any(line.startswith("supervisor   will do") and "stack" in line for line in lacking)
    # What was opened on purpose is not closed over somebody's head.
    box.sh("ufw default allow incoming")
    with pytest.raises(Refused) as caught:
        box.provision([], plan=True)
    assert caught.value.found.startswith("firewall: ufw is active and lets in everything")
