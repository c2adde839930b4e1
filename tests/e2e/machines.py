"""Machines that a test may spoil: Debian from its own packages, with systemd, in containers.

They have what a cloud's image has, and room for an engine of their own. Their root file systems are
kept as images, so that only the first run of the tests makes them. With them are apt's lists, which
it then has to compare and not to read; and what is documentation is not unpacked.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path

from tests.rig.sshd import Sshd
from tests.rig.stack import Result

ROOT = Path(__file__).parents[2]
# Has apt, with the mirror and the authorities that this machine's packages come by.
MAKER = "python:3.13-slim-trixie"
# Deadlines that mean "hung", beside other tests on a small machine.
MAKE_SECONDS = 900.0
LOOK_SECONDS = 300.0
# All that --privileged would give, but for what a container on some machines may not have.
RIGHTS = ("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "apparmor=unconfined",
          "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined",
          "--device-cgroup-rule", "a *:* rwm")  # fmt: skip
MAKE = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -q=2
    apt-get install -q=2 -y --no-install-recommends mmdebstrap
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
    trust=/usr/local/share/ca-certificates
    mmdebstrap --variant=minbase --include=ca-certificates,dbus,init,openssh-server,sudo \
        --skip=cleanup/apt/lists --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="upload /etc/ssl/certs/ca-certificates.crt $trust/host.crt" \
        --customize-hook='chroot "$1" update-ca-certificates; rm "$1"/etc/ssh/ssh_host_*' \
        "$SUITE" /tmp/root.tar "$mirror"
} >&2
cat /tmp/root.tar
"""
# A machine's systemd and engine may make control groups; a container's may not before this.
BOOT = r"""
for groups in /sys /sys/fs/cgroup /sys/fs/cgroup/*/; do
    mount -o remount,rw "$groups" 2>/dev/null || mount -o remount,bind,rw "$groups"
done 2>/dev/null
[ -n "$SYSTEMD" ] || exec sleep infinity
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    mountpoint -q /sys/fs/cgroup/systemd || {
        mkdir -p /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd,xattr systemd /sys/fs/cgroup/systemd
    }
    # Debian 13's systemd wants to be told that the old control groups are meant.
    export SYSTEMD_PROC_CMDLINE='SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'
fi
exec /sbin/init
"""
# What cloud-init does at the first boot: host keys, and a user who may use sudo.
PREPARE = """\
set -eu
for i in $(seq 120); do
    [ -n "$SYSTEMD" ] || break
    case $(systemctl is-system-running 2>/dev/null) in running | degraded) break ;; esac
    sleep 0.5
done
ssh-keygen -q -A
echo "Port $PORT" >/etc/ssh/sshd_config.d/port.conf
useradd --create-home --shell /bin/bash --password '*' admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
install -d -m 700 -o admin /home/admin/.ssh
cat >/home/admin/.ssh/authorized_keys
# sudo marks in the home directory who has used it.
runuser -u admin -- sudo true
# It may have tried in vain, and too often, before it had its keys.
[ -z "$SYSTEMD" ] || systemctl reset-failed ssh
service ssh restart >/dev/null
"""


def run(*argv: str, stdin: bytes | None = None, seconds: float = LOOK_SECONDS) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


def image_of(suite: str) -> str:
    """The image of a Debian release's root file system, made when it is not there."""
    recipe = hashlib.sha256(MAKE.encode()).hexdigest()[:8]
    tag = f"changeover-machine:{suite}-{recipe}"
    if subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode:
        make = [
            "docker",
            "run",
            "--rm",
            *RIGHTS,
            "--env",
            f"SUITE={suite}",
            MAKER,
            "sh",
            "-c",
            MAKE,
        ]
        with subprocess.Popen(make, stdout=subprocess.PIPE) as maker:
            run_from(maker, "docker", "import", "-", tag)
    return tag


@cache
def stage_of(name: str) -> str:
    """The image of a stage of this project's Dockerfile. What the tests run in is built on it."""
    build = ("docker", "build", "--quiet", "--target", name, str(ROOT))
    number = run(*build, seconds=MAKE_SECONDS).strip()
    # By its number: another clone's may be another.
    tag = f"changeover-machine:{name}-{number.rpartition(':')[2][:12]}"
    run("docker", "tag", number, tag)
    return tag


def run_from(source: subprocess.Popen[bytes], *argv: str) -> None:
    """Run something that reads what another one writes."""
    done = subprocess.run(
        argv, stdin=source.stdout, capture_output=True, timeout=MAKE_SECONDS, check=False
    )
    assert source.wait(MAKE_SECONDS) == 0, source.args
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"


class Box:
    """One machine.

    Args:
        port: where its sshd listens.
        systemd: it runs, as on a real one.
    """

    def __init__(self, suite: str, *, port: int = 22, systemd: bool = True) -> None:
        self.name = f"changeover-provision-{uuid.uuid4().hex[:6]}"
        self.port = port
        told = ["--env", "container=docker", "--env", f"PORT={port}"]
        told += ["--env", f"SYSTEMD={'yes' if systemd else ''}"]
        end = ["--stop-signal", "SIGRTMIN+3"] if systemd else ["--init"]
        # An engine's files cannot lie on a container's own overlay.
        volumes = ["--volume", "/var/lib/docker", "--volume", "/var/lib/containerd"]
        places = ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"]
        run("docker", "run", "--detach", "--name", self.name, "--hostname", suite, *RIGHTS,
            *volumes, *places, *told, *end, image_of(suite), "sh", "-c", BOOT)  # fmt: skip
        form = "{{with .NetworkSettings.Networks.bridge}}{{.IPAddress}} {{.Gateway}}{{end}}"
        self.address, self.gateway = run("docker", "inspect", "--format", form, self.name).split()

    def destroy(self) -> None:
        run("docker", "rm", "--force", "--volumes", self.name)

    def sh(self, script: str, stdin: bytes = b"", *, seconds: float = LOOK_SECONDS) -> str:
        argv = ["docker", "exec", "-i", self.name, "sh", "-c", script]
        return run(*argv, stdin=stdin, seconds=seconds)

    def prepare(self, public_key: bytes) -> None:
        self.sh(PREPARE, public_key)

    def known_hosts_line(self) -> str:
        key = self.sh("cat /etc/ssh/ssh_host_ed25519_key.pub").split()
        host = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{host} {key[0]} {key[1]}\n"

    def load(self, *images: str) -> None:
        """Carry images over into its engine: no registry is asked for what this machine has."""
        load = ["docker", "exec", "-i", self.name, "docker", "load"]
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            run_from(save, *load)


class Forge:
    """Where the site's repository is: here, as machines see it from `address`. It lets nobody read
    before it is told a key."""

    def __init__(self, address: str, bare: Path) -> None:
        only_git = 'ForceCommand git-shell -c "$SSH_ORIGINAL_COMMAND"'
        self._sshd = Sshd(only_git, address=address).start()
        self.repository = f"ssh://root@{address}:{self._sshd.port}{bare}"

    def known_hosts_line(self) -> str:
        return self._sshd.known_hosts_line()

    def let_in(self, public_key: str) -> None:
        key = self._sshd.directory / "deploy_key"
        key.with_name("deploy_key.pub").write_text(f"{public_key}\n")
        self._sshd.allow(key)

    def destroy(self) -> None:
        self._sshd.destroy()


class Laptop:
    """A developer's machine: the project, a key, and whose host keys somebody has compared."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ssh = home / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "id_ed25519"))
        self.public_key = (ssh / "id_ed25519.pub").read_bytes()
        self._known = ssh / "known_hosts"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "USER": "ada", "SECRET_KEY": "laptop",
        }  # fmt: skip

    def know(self, *hosts: Box | Forge) -> None:
        with self._known.open("a") as known:
            known.writelines(host.known_hosts_line() for host in hosts)

    def manage(self, box: Box, *arguments: str, seconds: float = MAKE_SECONDS) -> Result:
        """manage.py with a server named production; without a terminal."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env(box),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def begin(self, box: Box, *arguments: str) -> subprocess.Popen[str]:
        """As `manage`, and not waited for."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env(box),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def env(self, box: Box) -> dict[str, str]:
        server = f"production=deploy@{box.address}:{box.port}/srv/site"
        return {**self.environment, "OPS_SERVERS": server}


def bare_repository(work: Path, bare: Path) -> Path:
    """A bare repository with what lies in a directory as its only commit, on main."""
    git = ["git", "-C", str(work), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    run(*git, "init", "--quiet", "--initial-branch", "main")
    run(*git, "add", "--all")
    run(*git, "commit", "--quiet", "--message", "First")
    run("git", "clone", "--quiet", "--bare", str(work), str(bare))
    return bare
