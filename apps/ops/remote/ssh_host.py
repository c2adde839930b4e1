"""How to reach a host over SSH, and the words that ProxyJump has for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SYSTEM_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
# The ways to log in that paramiko has.
METHODS = frozenset({"publickey", "password", "keyboard-interactive"})


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
        proxy_command: for a shell: its input and output are the link.
        known_hosts: the user's files; the first is the one that is added to.
        certificates: files (CertificateFile), besides those that lie beside the identities.
        unknown_keys: StrictHostKeyChecking: "yes" refuses unknown host keys, "accept-new" records
            them; all else asks. A changed one is always refused.
        methods: the ways to log in that may be tried.
        may_ask: whether somebody may be asked for something (BatchMode).
        family: of addresses, as `socket` has it; 0 for any.
        bind_address: where the connection comes from.
        connect_seconds: how long a connection may take; None for our own limit.
        algorithms: by ssh_config's keyword, in small letters; without one, paramiko's.
        ignored: what is configured and not followed, each a sentence.
        impossible: why there can be no connection as it is configured, a sentence.
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
    system_known_hosts: Sequence[Path] = SYSTEM_KNOWN_HOSTS
    certificates: Sequence[Path] = ()
    unknown_keys: str = "ask"
    methods: frozenset[str] = METHODS
    may_ask: bool = True
    family: int = 0
    bind_address: str | None = None
    connect_seconds: float | None = None
    algorithms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    impossible: str = ""


class Jump(NamedTuple):
    user: str | None
    name: str
    port: int | None

    @classmethod
    def of(cls, text: str) -> Jump:
        """From [USER@]HOST[:PORT] or ssh://[USER@]HOST[:PORT]; an IPv6 address is in brackets."""
        user, _, rest = text.removeprefix("ssh://").rstrip("/").rpartition("@")
        name, _, port = rest.rpartition(":")
        if not port.isdigit() or (":" in name and not name.endswith("]")):
            name, port = rest, ""
        return cls(user or None, name.strip("[]"), int(port) if port else None)
