"""What the configuration of SSH says about a host: as OpenSSH reads it, where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from apps.ops.remote import openssh, read_without_ssh
from apps.ops.remote.answers import host_of
from apps.ops.remote.failures import RemoteFailed
from apps.ops.remote.ssh_host import Host

_NOBODY = "changeover-nobody"


def look_up(
    host: str, *, user: str | None = None, port: int | None = None, jumps: Sequence[str] = ()
) -> Host:
    """Read the user's and the system's configuration.

    Args:
        user, port, jumps: win over the configuration's.

    Raises:
        RemoteFailed: a file cannot be read or understood.
    """
    answers = openssh.ask(host, user=user, port=port, jumps=jumps)
    if answers is None:
        answers = read_without_ssh.read(host, user=user, port=port, jumps=jumps)
    try:
        return host_of(host, answers)
    except (RuntimeError, ValueError) as error:
        raise RemoteFailed(
            f"The SSH configuration for {host} cannot be followed: {error}.",
            next="Correct it in ~/.ssh/config; `man ssh_config` has what is possible.",
        ) from error


def configured_user(host: str) -> str | None:
    """As whom to log in, when the configuration says so; not who happens to ask.

    Raises:
        RemoteFailed: a file cannot be read or understood.
    """
    answers = openssh.ask(host, default_user=_NOBODY)
    if answers is None:
        answers = read_without_ssh.read(host)
    (user,) = answers.get("user", [_NOBODY])
    return None if user == _NOBODY else user
