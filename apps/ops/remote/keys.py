"""Keys: what the agent holds, what stands in files, and certificates for either."""

from __future__ import annotations

import os
import socket
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob, UnknownKeyType

from apps.ops.remote.asking import Ask
from apps.ops.remote.ssh_host import Host

TRIES = 3
CERTIFICATE = "-cert-v01@openssh.com"
# Nobody misses one of these.
_TRIED_BY_DEFAULT = {
    f"id_{kind}" for kind in ("dsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "rsa", "xmss")
}
_PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


class AgentAt(AgentSSH):
    """The agent behind a socket; what it holds was asked for then."""

    def __init__(self, path: str) -> None:
        super().__init__()
        conn = socket.socket(socket.AF_UNIX)
        try:
            conn.connect(path)
            self._connect(conn)  # type: ignore[attr-defined]  # As paramiko.Agent does it.
        except BaseException:
            conn.close()
            raise


class AgentCertificate(paramiko.AgentKey):
    """A certificate that the agent holds with its key, and signs with as itself."""

    def asbytes(self) -> bytes:
        return self.blob


class Certificate(NamedTuple):
    """A certificate of a file, and the public key that it is about."""

    path: Path
    blob: PublicBlob
    key: bytes


def held_by(path: str | None) -> Sequence[paramiko.AgentKey]:
    """What the agent of that socket holds; without one, the environment's agent.

    Raises:
        OSError, SSHException: nobody answers there, or something that is no agent.
    """
    # Windows has one agent, and no such sockets.
    agent = AgentAt(path) if path and hasattr(socket, "AF_UNIX") else paramiko.Agent()
    return [
        AgentCertificate(key.agent, key.blob, key.comment) if CERTIFICATE in key.name else key
        for key in agent.get_keys()
    ]


def plain(key: paramiko.PKey) -> bytes:
    """Its public key, also when it is a certificate."""
    return certified(key.blob) if isinstance(key, AgentCertificate) else key.asbytes()


def certified(blob: bytes) -> bytes:
    """The public key that a certificate is about; paramiko has it of RSA's only."""
    message, key = paramiko.Message(blob), paramiko.Message()
    kind = message.get_binary().decode(errors="replace").removesuffix(CERTIFICATE)
    message.get_binary()  # What makes it unlike any other.
    key.add_string(f"{kind}@openssh.com" if kind.startswith("sk-") else kind)
    # A hardware key has the name of its application besides.
    numbers = 1 if kind.endswith("ed25519") else 2
    for _ in range(numbers + kind.startswith("sk-")):
        key.add_string(message.get_binary())
    return key.asbytes()


def certificates(host: Host) -> Sequence[Certificate]:
    """Those that are named, and those that lie beside the keys."""
    beside = [path.with_name(f"{path.name}-cert.pub") for path in host.identities]
    found = []
    for path in [*host.certificates, *host.identities, *beside]:
        try:
            blob = PublicBlob.from_file(str(path))
            if CERTIFICATE in blob.key_type:
                found.append(Certificate(path, blob, certified(blob.key_blob)))
        except (OSError, ValueError, IndexError):
            continue
    return found


def public_blob(path: Path) -> bytes:
    """The public half: of the file beside a private key, of the file itself, where only the agent
    has the other, or of the head of a private key; empty when it is not known."""
    for beside in (path,) if path.suffix == ".pub" else (path.with_name(f"{path.name}.pub"), path):
        try:
            text = beside.read_text(errors="replace")
            if blob := _from_private(text) if "-----BEGIN" in text else b64decode(text.split()[1]):
                return blob
        except (OSError, ValueError, IndexError):
            continue
    return b""


def _from_private(text: str) -> bytes:
    if not text.startswith(_PRIVATE):
        return b""
    head = b64decode("".join(text.split("-----")[2].split()))
    if not head.startswith(_MAGIC):
        return b""
    message = paramiko.Message(head[len(_MAGIC) :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_binary()
    message.get_int()
    return message.get_binary()


def kind_of(blob: bytes) -> str:
    return paramiko.Message(blob).get_binary().decode(errors="replace")


def load(path: Path, ask: Ask, notes: list[str]) -> paramiko.PKey | None:
    """The private key of a file; without one, a note says why."""
    if not path.is_file():
        if path.name not in _TRIED_BY_DEFAULT:
            notes.append(f"{path}: there is no such file")
        return None
    if path.suffix == ".pub":
        notes.append(f"{path}: no agent holds the private half of it")
        return None
    if kind_of(public_blob(path)).startswith("sk-"):
        notes.append(f"{path}: a hardware key, which only an agent can use here: ssh-add {path}")
        return None
    if others_can_read(path):
        notes.append(f"{path}: not offered, because others can read it (chmod 600 {path})")
        return None
    passphrase: bytes | None = None
    for left in range(TRIES, -1, -1):
        try:
            # What is annotated as text is handed to a function that takes bytes only.
            return paramiko.PKey.from_path(path, passphrase)  # type: ignore[arg-type]
        except TypeError:  # It has a passphrase and was given none.
            found = "it has a passphrase"
        except (OSError, paramiko.SSHException, UnknownKeyType) as error:
            notes.append(f"{path}: not read: {error} (ssh-keygen -p -f {path} writes it anew)")
            return None
        except ValueError as error:
            if passphrase is None:
                notes.append(f"{path}: not a private key that can be read: {error}")
                return None
            found = "the passphrase is not right"
        typed = ask.secret(f"Passphrase of {path}") if left else None
        if typed is None:
            break
        passphrase = typed.encode()
    notes.append(f"{path}: not offered: {found}")
    return None


def others_can_read(path: Path) -> bool:
    """As OpenSSH looks at it: of a file of one's own."""
    if not hasattr(os, "getuid"):
        return False
    try:
        about = path.stat()
    except OSError:
        return False
    return about.st_uid == os.getuid() and bool(about.st_mode & 0o077)


def is_accepted(kind: str, accepted: Sequence[str] | None) -> bool:
    """Whether PubkeyAcceptedAlgorithms has a kind of key; RSA's have the names of their hashes."""
    if accepted is None:
        return True
    if kind.startswith("ssh-rsa"):
        rest = kind.removeprefix("ssh-rsa")
        return any(f"rsa-sha2-{bits}{rest}" in accepted for bits in (256, 512))
    return kind in accepted
