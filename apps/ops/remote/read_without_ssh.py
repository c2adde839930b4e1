"""The configuration where there is no OpenSSH to ask (Windows, slim images), read by paramiko.

What paramiko would take for something else than is written is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import paramiko

from apps.ops.remote.config_lines import (
    INCLUDE,
    MAX_DEPTH,
    SYSTEM_CONFIG,
    base_of,
    included,
    user_config,
    words,
)
from apps.ops.remote.failures import RemoteFailed

# An option that there is not.
MARK = "changeover"
_SECTION = re.compile(r"^\s*(host|match)[\s=]", re.IGNORECASE)
_LINE = re.compile(r"^\s*(\w+)(?:\s*=\s*|\s+)(.*\S)\s*$")
_CRITERIA = {"all", "canonical", "final", "host", "localuser", "originalhost", "user"}
# The rest of the line is theirs, whatever is in it.
_COMMANDS = {"knownhostscommand", "localcommand", "proxycommand", "remotecommand"}
_SEVERAL = {"globalknownhostsfile", "host", "match", "userknownhostsfile"}


class _Misread(ValueError):
    """paramiko would read it otherwise than OpenSSH."""


def read(
    host: str, *, user: str | None = None, port: int | None = None, jumps: Sequence[str] = ()
) -> dict[str, Sequence[str]]:
    """By keyword, as `ssh -G` has it; only what the files say.

    Raises:
        RemoteFailed: a file cannot be read, or not as OpenSSH would read it.
    """
    path = user_config()
    given = [("User", user), ("Port", port), ("ProxyJump", ",".join(jumps))]
    try:
        lines = [f"{key} {value}" for key, value in given if value]
        lines += ["Host *", *_lines(path, host), "Host *", *_lines(SYSTEM_CONFIG, host)]
        found = _looked_up(lines, host)
    except (OSError, RuntimeError, ValueError, ImportError, paramiko.SSHException) as error:
        raise RemoteFailed(
            f"The SSH configuration ({path}) cannot be read: {error}",
            next="Install OpenSSH's client, which is asked then, or change that line.",
        ) from error
    # Of these two, the one that stands first holds.
    ways = [key for key in found if key in ("proxyjump", "proxycommand")]
    return {
        key: value if isinstance(value, list) else [_plain(key, value or "none")]
        for key, value in found.items()
        if key not in ways[1:]
    }


def _plain(key: str, value: str) -> str:
    return " ".join(words(value)) if key in _SEVERAL else value


def _lines(path: Path, host: str, depth: int = 0) -> Iterator[str]:
    """A file with what it includes for this host, which paramiko does not read by itself."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{path} is included by itself, again and again.")
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    section = "Host *"
    for number, line in enumerate(lines, start=1):
        if include := INCLUDE.match(line):
            for pattern in words(include[1]) if _is_for(host, section) else ():
                for one in included(pattern, base_of(path)):
                    yield from _lines(one, host, depth + 1)
            # What follows is for whom it was for before.
            yield section
        elif line.strip() and not line.lstrip().startswith("#"):
            _refuse_what_is_misread(line, f"{path}, line {number}")
            section = line if _SECTION.match(line) else section
            yield line


def _refuse_what_is_misread(line: str, where: str) -> None:
    if not (match := _LINE.match(line)):
        raise _Misread(f"{where}: that is no keyword with a value.")
    key, value = match[1].lower(), match[2]
    if key == "match":
        for word in words(value):
            kind = re.split(r"[=\s]", word.lstrip("!"), maxsplit=1)[0].lower()
            if kind not in _CRITERIA and word in _criteria(value):
                raise _Misread(f"{where}: only OpenSSH knows what `Match {word}` means.")
    if key in _COMMANDS:
        return
    bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", value)
    if re.search(r"(^|\s)#", bare):
        raise _Misread(f"{where}: a comment behind a value counts as a part of it here.")
    if re.search(r"\\[\s\"']", value):
        raise _Misread(f"{where}: a backslash before a space or a quote is not understood here.")
    if '"' in bare or "'" in bare:
        raise _Misread(f"{where}: a quote has no end.")
    is_in_part = bare != value and (bare.strip() or value.startswith("'"))
    if key not in _SEVERAL and is_in_part:
        raise _Misread(f"{where}: a value that is quoted so is not understood here.")


def _criteria(value: str) -> list[str]:
    """Those of a Match without their arguments."""
    left, found = words(value), []
    while left:
        word = left.pop(0)
        found.append(word)
        if word.lstrip("!").lower() not in ("all", "canonical", "final") and left:
            left.pop(0)
    return found


def _is_for(host: str, section: str) -> bool:
    return MARK in _looked_up([section, f"{MARK} yes"], host)


def _looked_up(lines: Sequence[str], host: str) -> Mapping[str, Any]:
    config = paramiko.SSHConfig()
    # What else has tokens gets its values where OpenSSH's answers get theirs.
    config.TOKENS_BY_CONFIG_KEY = {"hostname": ["%h"]}
    config.parse(lines)
    return config.lookup(host)
