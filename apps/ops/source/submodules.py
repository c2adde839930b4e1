"""Where the submodules of a commit are: what its `.gitmodules` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.ops.errors import Refused
from apps.ops.source.git import Git


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    address: str


def modules_of(listed: str, base: str) -> dict[str, Module]:
    """The submodules by path.

    Args:
        listed: `git config -z --list` of a commit's .gitmodules.
        base: the address of the repository that has it; some are said relative to it.
    """
    values: dict[str, dict[str, str]] = {}
    for item in listed.split("\0"):
        key, _, value = item.partition("\n")
        section, _, rest = key.partition(".")
        name, _, variable = rest.rpartition(".")
        if section == "submodule" and name:
            values.setdefault(name, {})[variable] = value
    return {
        found["path"].rstrip("/"): Module(name, resolved(base, found["url"]))
        for name, found in values.items()
        if found.get("path") and found.get("url") and not found["url"].startswith("-")
    }


def resolved(base: str, address: str) -> str:
    """An address as git means it: `../other.git` is the neighbour of `base`."""
    if not address.startswith(("./", "../")):
        return address
    base, separator = base.rstrip("/"), "/"
    while address.startswith(("./", "../")):
        if address.startswith("./"):
            address = address[2:]
            continue
        address = address[3:]
        separator = "/" if "/" in base else ":"
        base = base.rpartition(separator)[0]
    return f"{base}{separator}{address}".rstrip("/")


def transports(git: Git, remote: str) -> list[str]:
    """Options for what fetches a submodule.

    A commit says where its submodules are: git does not read any path of this machine for it,
    unless the remote itself lies on this machine.
    """
    own = git.ask("config", "--get", f"remote.{remote}.url") or ""
    is_local = own.startswith("file://") or (own and (git.path / own).is_dir())
    return ["-c", "protocol.file.allow=always"] if is_local else []


def links_without_address(paths: Sequence[str], commit: str) -> Refused:
    named = ", ".join(map(shown, paths[:3]))
    return Refused(
        f"{named} in {commit[:12]} is another repository's commit, and .gitmodules does not say "
        "where that repository is: its files are not in git.",
        next=f"git submodule add URL {shown(paths[0])}   # or, for plain files: git rm --cached "
        f"{shown(paths[0])}, then add them; commit and push",
    )


def shown(path: str) -> str:
    """A path in a sentence: quoted when it would not stay on one line."""
    return path if path.isprintable() else repr(path)
