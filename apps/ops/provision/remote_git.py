"""git on the server, as the deploy user, with the key and the host keys of the checkout."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from urllib.parse import urlsplit

from apps.ops.provision.machine import Machine
from apps.ops.remote.connection import Completed

SECONDS = 600.0
NO_BRANCH = 2
_SCP_LIKE = re.compile(r"(?:[^@/:\s]+@)?(\[[^\]]+\]|[^/:\s]+):(?!//)\S+")


def ssh_host(address: str) -> str | None:
    """The host of a remote's address as `known_hosts` names it; None when it is not over SSH."""
    if "://" in address:
        parts = urlsplit(address)
        if parts.scheme not in ("ssh", "git+ssh") or not parts.hostname:
            return None
        return parts.hostname if parts.port in (None, 22) else f"[{parts.hostname}]:{parts.port}"
    match = _SCP_LIKE.fullmatch(address)
    return match[1].strip("[]") if match else None


def key_path(machine: Machine) -> str:
    return f"{machine.directory}/.ssh/id_ed25519"


def known_hosts_path(machine: Machine) -> str:
    return f"{machine.directory}/.ssh/known_hosts"


def git(machine: Machine, arguments: Sequence[str], *, check: bool = True) -> Completed:
    """Never asks: a host or a key that is not known is an error."""
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-i", key_path(machine)]
    ssh += ["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
    ssh += ["-o", f"UserKnownHostsFile={known_hosts_path(machine)}"]
    return machine.user(
        ["git", *arguments],
        directory=machine.directory,
        seconds=SECONDS,
        check=check,
        env={"GIT_SSH_COMMAND": shlex.join(ssh), "GIT_TERMINAL_PROMPT": "0"},
    )


def reads(machine: Machine, repository: str, branch: str) -> Completed:
    """Ask the remote for its branch: exit code 0, NO_BRANCH, or what git says."""
    arguments = ["ls-remote", "--exit-code", repository, f"refs/heads/{branch}"]
    return git(machine, arguments, check=False)
