"""An sshd that lets in one key, for the tests of provisioning and of `remote env`."""

from __future__ import annotations

import base64
import getpass

import paramiko

from apps.ops.provision.machine import Machine
from apps.ops.remote.connection import Connection
from apps.ops.remote.servers import Server
from tests.rig.sshd import Sshd, make_key, public


class SshServer(Sshd):
    """It runs from the beginning.

    Args:
        largest_file: a write beyond so many bytes fails, as it does on a full disk.
    """

    def __init__(self, *, largest_file: int | None = None) -> None:
        # All tests come from one address, and some are let in by nobody. Without PAM an account
        # that has no password counts as locked.
        super().__init__("PerSourcePenalties no", "UsePAM yes")
        # A user's authorized keys are read as that user.
        self.directory.chmod(0o755)
        self._largest_file = largest_file
        self.key = make_key(self.directory / "key")
        self.allow(self.key).start()

    def connect(
        self, server: Server, user: str | None = None, *, port: int | None = None
    ) -> Connection:
        transport = paramiko.Transport(("127.0.0.1", port or self.port))
        known = paramiko.Ed25519Key(data=base64.b64decode(public(self.host_key).split()[1]))
        key = paramiko.Ed25519Key.from_private_key_file(str(self.key))
        transport.connect(hostkey=known, username=user or getpass.getuser(), pkey=key)
        return Connection(server, [transport])

    def machine(self, connection: Connection, server: Server, deploy_user: str) -> Machine:
        """What provisioning sees over a connection."""

        def connect(user: str) -> Connection:
            return self.connect(server, user=user)

        return Machine(connection, server, deploy_user=deploy_user, connect=connect, say=print)

    def _argv(self) -> list[str]:
        argv = super()._argv()
        if self._largest_file is None:
            return argv
        # An error, and not sshd's end.
        return ["env", "--ignore-signal=XFSZ", "prlimit", f"--fsize={self._largest_file}", *argv]
