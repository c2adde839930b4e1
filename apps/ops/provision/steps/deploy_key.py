from __future__ import annotations

import posixpath

import paramiko

from apps.ops.errors import Refused
from apps.ops.provision import remote_git
from apps.ops.provision.steps.base import Found, Step


class DeployKey(Step):
    """The server can read the repository: with a key of its own, to a host that is known here."""

    name = "deploy key"

    def look(self) -> Found:
        host = remote_git.ssh_host(self.wish.repository)
        if not self.machine.has(self.machine.directory):
            return Found(False, self._intent(host))
        asked = remote_git.reads(self.machine, self.wish.repository, self.wish.branch)
        if asked.code == remote_git.NO_BRANCH:
            raise Refused(
                f"{self.wish.repository} has no branch {self.wish.branch}.",
                next=f"git push origin {self.wish.branch}   # or set OPS_BRANCH",
            )
        if asked.code == 0:
            return Found(True, f"The server can read {self.wish.repository}.")
        return Found(False, self._intent(host))

    def act(self) -> str:
        host = remote_git.ssh_host(self.wish.repository)
        public = ""
        if host:
            self._make_directory()
            self._know(host)
            public = self._make_key()
        asked = remote_git.reads(self.machine, self.wish.repository, self.wish.branch)
        if asked.code not in (0, remote_git.NO_BRANCH):
            self._stop(asked.errors, public)
        return "The server can read the repository."

    def _intent(self, host: str | None) -> str:
        if host is None:
            return f"See that the server can read {self.wish.repository}."
        directory = posixpath.dirname(remote_git.key_path(self.machine))
        return (
            f"Make a key in {directory}, print its public half, and stop until {host} lets it read."
        )

    def _stop(self, said: str, public: str) -> None:
        if not public:
            raise Refused(
                f"The server cannot read {self.wish.repository}.",
                output=said,
                next="Name one that it can read, over SSH for a key: --repository ADDRESS",
            )
        for line in ("", public, ""):
            self.machine.say(line)
        raise Refused(
            f"The server's key cannot read {self.wish.repository} yet. Its public half stands "
            "above.",
            output=said,
            next="Add it to the repository as a read-only deploy key; then the same command again.",
        )

    def _make_directory(self) -> None:
        path = posixpath.dirname(remote_git.key_path(self.machine))
        self.machine.user(["install", "-d", "-m", "700", path])

    def _make_key(self) -> str:
        path = remote_git.key_path(self.machine)
        if not self.machine.has(path):
            name = f"{self.machine.deploy_user}@{self.machine.server.host}"
            self.machine.user(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path]
            )
        # Told by the key itself: the file beside it may be gone.
        return self.machine.user(["ssh-keygen", "-y", "-f", path]).output.strip()

    def _know(self, host: str) -> None:
        """The host's keys as this machine knows them: somebody has compared those."""
        path = remote_git.known_hosts_path(self.machine)
        known = self.machine.user(["ssh-keygen", "-F", host, "-f", path], check=False)
        if known.code == 0:
            return
        keys = self._keys_known_here(host)
        if not keys:
            raise Refused(
                f"This machine does not know {host}, so nobody has compared its host key.",
                next=f"ssh -T git@{host.partition(':')[0].strip('[]')}   # compare its fingerprint "
                "with the published one; then the same command again",
            )
        there = self.machine.read(path) or ""
        owner = f"{self.machine.deploy_user}:"
        self.machine.write(path, there + "".join(keys), mode="600", owner=owner)

    def _keys_known_here(self, host: str) -> list[str]:
        keys: list[str] = []
        for path in self.wish.known_hosts:
            try:
                found = paramiko.HostKeys(str(path)).lookup(host)
            except (OSError, UnicodeDecodeError, paramiko.SSHException):
                continue
            keys += [f"{host} {kind} {key.get_base64()}\n" for kind, key in (found or {}).items()]
        return keys
