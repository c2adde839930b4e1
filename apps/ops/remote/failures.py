"""Why a server could not be worked with: each kind says at which point of the way it was."""

from __future__ import annotations

from apps.ops.errors import OpsError

# ssh's own code for that; no command of ours ends with it.
SSH_EXIT_CODE = 255


class RemoteFailed(OpsError):
    """Something on the way to the server; a command's own failure is its exit code."""

    exit_code = SSH_EXIT_CODE


class NameNotFound(RemoteFailed):
    """DNS knows no such host, or does not answer."""


class NotReached(RemoteFailed):
    """No TCP connection, or what answers does not speak SSH."""


class HostKeyRefused(RemoteFailed):
    """Its host key is unknown, revoked, or not the one on record."""


class LoginRefused(RemoteFailed):
    """No key was accepted."""


class LinkLost(RemoteFailed):
    """The link was cut, or has been silent for too long."""


class TookTooLong(RemoteFailed):
    """A remote command did not end before its deadline."""
