"""What `~/.ssh/config` says about a host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from apps.ops.remote.failures import RemoteFailed

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
# An option that there is not.
MARK = "changeover"
MAX_DEPTH = 16  # OpenSSH's.
_INCLUDE = re.compile(r"^\s*include[\s=]+(.+?)\s*$", re.IGNORECASE)
_SECTION = re.compile(r"^\s*(host|match)[\s=]", re.IGNORECASE)
_DEFAULT_KEYS = ("id_ed25519", "id_rsa", "id_ecdsa")


@dataclass(frozen=True, slots=True)
class Host:
    """How to reach a host.

    Attributes:
        address: its name or address.
        key_name: what it is called in known_hosts (HostKeyAlias).
        identities: private key files, in order.
        only_identities: of the agent's keys, only those are offered (IdentitiesOnly).
        agent: the agent's socket; None for the one in the environment, "none" for no agent.
        jumps: the hosts to go through, in order, each as ProxyJump has it.
        proxy_command: a program whose input and output are the link.
        known_hosts: the user's files; the first is the one that is added to.
    """

    user: str | None
    address: str
    port: int
    key_name: str
    identities: Sequence[Path]
    only_identities: bool
    agent: str | None
    jumps: Sequence[str]
    proxy_command: str | None
    known_hosts: Sequence[Path]


def look_up(host: str, *, user: str | None = None, port: int | None = None) -> Host:
    """Read the user's and the system's configuration.

    Args:
        user, port: win over the configuration's.

    Raises:
        RemoteFailed: a file cannot be read or understood.
    """
    home = Path.home()
    path = home / ".ssh" / "config"
    try:
        text = f"{_text(path, host)}\nHost *\n{_text(SYSTEM_CONFIG, host)}"
        config = paramiko.SSHConfig.from_text(text)
        found = config.lookup(host)
        number = port or int(found.get("port", 22))
    except (OSError, RuntimeError, ValueError, ImportError, paramiko.SSHException) as error:
        raise RemoteFailed(
            f"The SSH configuration ({path}) cannot be read: {error}",
            next=f"ssh -G {host}   # says what OpenSSH makes of it",
        ) from error
    address = found.get("hostname", host)
    alias = found.get("hostkeyalias")
    jumps = [part.strip() for part in (found.get("proxyjump") or "none").split(",")]
    named = [Path(name).expanduser() for name in found.get("identityfile", [])]
    return Host(
        user=user or found.get("user"),
        address=address,
        port=number,
        key_name=alias or (address if number == 22 else f"[{address}]:{number}"),
        identities=named or [home / ".ssh" / name for name in _DEFAULT_KEYS],
        only_identities=found.get("identitiesonly", "no").lower() == "yes",
        agent=found.get("identityagent"),
        jumps=[] if jumps[0].lower() == "none" else jumps,
        proxy_command=found.get("proxycommand"),
        known_hosts=[
            Path(name).expanduser()
            for name in found.get("userknownhostsfile", str(home / ".ssh" / "known_hosts")).split()
        ],
    )


def _text(path: Path, host: str, depth: int = 0) -> str:
    """A file with what it includes for this host, which paramiko does not read by itself."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{path} is included by itself, again and again.")
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    base = path.parent if path == SYSTEM_CONFIG else Path.home() / ".ssh"
    result, section = [], "Host *"
    for line in lines:
        if include := _INCLUDE.match(line):
            for pattern in include[1].replace('"', "").split() if _is_for(host, section) else ():
                absolute = base / Path(pattern).expanduser()
                found = sorted(absolute.parent.glob(absolute.name))
                result += [_text(path, host, depth + 1) for path in found]
            # What follows is for whom it was for before.
            result.append(section)
        else:
            section = line if _SECTION.match(line) else section
            result.append(line)
    return "\n".join(result)


def _is_for(host: str, section: str) -> bool:
    found = paramiko.SSHConfig.from_text(f"{section}\n  {MARK} yes").lookup(host)
    return MARK in found
