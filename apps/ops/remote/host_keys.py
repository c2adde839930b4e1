"""Is it the server it was last time? Asked at every connection; nothing turns it off."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from apps.ops.remote.asking import Ask, Say
from apps.ops.remote.failures import HostKeyRefused
from apps.ops.remote.ssh_host import Host

WHERE_IT_STANDS = "ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"


@dataclass(frozen=True, slots=True)
class Known:
    """A line of a known_hosts file: `file` and `number` say where it stands."""

    key: paramiko.PKey
    file: Path
    number: int
    revoked: bool


def known_keys(name: str, files: Sequence[Path]) -> list[Known]:
    """The keys on record for a host.

    Raises:
        HostKeyRefused: a file is there and cannot be read: nobody knows what it says.
    """
    found = []
    for file in files:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HostKeyRefused(
                f"{file} cannot be read, so it is not known whether {name} is who it was: {error}",
                next=f"ls -l {file}",
            ) from error
        for number, line in enumerate(lines, start=1):
            if known := _read(name, line.strip(), file, number):
                found.append(known)
    return found


def preferred_types(known: Sequence[Known], offered: Sequence[str]) -> list[str]:
    """Ask a known server first for the kinds of key that are on record: it may have others."""
    kinds = {one.key.get_name() for one in known if not one.revoked}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-256", "rsa-sha2-512"}  # Signatures by the same key.
    return sorted(offered, key=lambda kind: kind not in kinds)


def verify(host: Host, key: paramiko.PKey, known: Sequence[Known], *, ask: Ask, say: Say) -> None:
    """Accept a key that is on record; ask about a host that has none, and record the answer in
    the first of its known_hosts.

    Raises:
        HostKeyRefused: it is another one than on record, it is revoked, or it was not accepted.
    """
    name = host.key_name
    add_to = next(iter(host.known_hosts), None)
    same = [one for one in known if one.key == key]
    if revoked := next((one for one in same if one.revoked), None):
        raise HostKeyRefused(
            f"The host key of {name} ({key.fingerprint}) is marked as revoked: "
            f"{revoked.file}, line {revoked.number}. Nothing was sent.",
            next="Ask whoever revoked it which server this is.",
        )
    if same:
        return
    if changed := [one for one in known if not one.revoked]:
        raise _changed(name, key, changed)
    if host.unknown_keys == "yes":
        raise HostKeyRefused(
            f"The host key of {name} ({_kind(key)} {key.fingerprint}) is unknown, and "
            "StrictHostKeyChecking is yes. Nothing was sent.",
            next=f"ssh-keyscan -H … >> {add_to}   # once you have compared the fingerprint",
        )
    say(
        f"{name} is not known here yet. Its {_kind(key)} host key has the fingerprint\n"
        f"  {key.fingerprint}\n"
        f"On the server, {WHERE_IT_STANDS.format(kind=_kind(key))} prints the right one."
    )
    if host.unknown_keys != "accept-new" and not ask.yes("Is it the same?"):
        raise HostKeyRefused(
            f"The host key of {name} is unknown and was not accepted. Nothing was sent.",
            next=f"ssh-keyscan -H … >> {add_to}, or answer the question in a terminal, once you "
            "have compared the fingerprint.",
        )
    if add_to is None:
        say("Recorded nowhere: UserKnownHostsFile is none.")
        return
    _add(name, key, add_to)
    say(f"Recorded in {add_to}.")


def _changed(name: str, key: paramiko.PKey, on_record: Sequence[Known]) -> HostKeyRefused:
    was = "\n".join(
        f"{one.file}, line {one.number}: {_kind(one.key)} {one.key.fingerprint}"
        for one in on_record
    )
    return HostKeyRefused(
        f"THE HOST KEY OF {name} HAS CHANGED: it shows {_kind(key)} {key.fingerprint}, which is "
        "not the one on record. Either the server was installed anew, or somebody is in between. "
        "Nothing was sent.",
        output=was,
        next=f"ssh-keygen -R '{name}' -f {on_record[0].file}   # only when you know that it was "
        "installed anew",
    )


def _read(name: str, line: str, file: Path, number: int) -> Known | None:
    if not line or line.startswith("#"):
        return None
    revoked = line.startswith("@revoked")
    if line.startswith("@") and not revoked:
        return None  # Certificate authorities: paramiko knows no host certificates.
    try:
        entry = HostKeyEntry.from_line(" ".join(line.split()[1 if revoked else 0 :]), number)
    except (InvalidHostKey, paramiko.SSHException, ValueError):
        return None
    if entry is None or entry.key is None or not _is_for(name, entry.hostnames or []):
        return None
    return Known(entry.key, file, number, revoked)


def _is_for(name: str, patterns: Sequence[str]) -> bool:
    if any(p.startswith("!") and fnmatch.fnmatchcase(name, _glob(p[1:].lower())) for p in patterns):
        return False
    return any(
        HostKeys.hash_host(name, pattern) == pattern
        if pattern.startswith("|1|")
        else fnmatch.fnmatchcase(name, _glob(pattern.lower()))
        for pattern in patterns
    )


def _glob(pattern: str) -> str:
    # [host]:port is no character class here.
    return pattern.replace("[", "[[]")


def _add(name: str, key: paramiko.PKey, file: Path) -> None:
    line = f"{name} {key.get_name()} {key.get_base64()}\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as out:
            size = out.seek(0, os.SEEK_END)
            if size:
                out.seek(size - 1)
                if out.read(1) != b"\n":
                    line = "\n" + line
            out.write(line.encode())
    except OSError as error:
        raise HostKeyRefused(
            f"The host key of {name} could not be recorded in {file}: {error}. Nothing was sent.",
            next=f"ls -ld {file.parent} {file}",
        ) from error


def _kind(key: paramiko.PKey) -> str:
    name = key.get_name()
    return "rsa" if "rsa" in name else "ecdsa" if "ecdsa" in name else "ed25519"
