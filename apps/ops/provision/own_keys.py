"""The public keys of whoever sits here: those that `remote` will offer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from apps.ops.remote.keys import AgentCertificate, plain, public_blob
from apps.ops.remote.login import agent_keys
from apps.ops.remote.ssh_host import Host

# A line that begins otherwise has conditions ("command=…") that were meant for its own place.
_PLAIN = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ \S+)(?: .*)?")


def plain_key(line: str) -> str | None:
    """The key of a line of `authorized_keys`, when it may be used for everything."""
    match = _PLAIN.fullmatch(line.strip())
    return match[1] if match else None


def own_keys(host: Host) -> Mapping[str, str]:
    """Key files' public halves and the agent's keys: each line with what to call it."""
    found: dict[str, str] = {}
    for path in host.identities:
        if path.is_file() and (key := _public(path)):
            found.setdefault(key, str(path))
    named = {public_blob(path) for path in host.identities}
    for held in agent_keys(host):
        if isinstance(held, AgentCertificate) or (
            host.only_identities and plain(held) not in named
        ):
            continue
        found.setdefault(
            f"{held.get_name()} {held.get_base64()}", f"{held.comment or held.fingerprint} (agent)"
        )
    return found


def _public(path: Path) -> str | None:
    """From the file beside a key file, or from itself, when it has no passphrase."""
    try:
        beside = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
        return plain_key(beside.read_text(errors="replace"))
    except OSError:
        pass
    try:
        key = paramiko.PKey.from_path(path)
    except (OSError, TypeError, ValueError, paramiko.SSHException, UnknownKeyType):
        return None
    return f"{key.get_name()} {key.get_base64()}"
