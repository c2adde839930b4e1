"""`%h`, `${NAME}` and `~` in the names of files, as OpenSSH has them (ssh_config(5), TOKENS)."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}", re.DOTALL)


def tokens(
    *, name: str, address: str, port: int, user: str, alias: str | None, jump: str
) -> dict[str, str]:
    """What each letter stands for.

    Args:
        name: the host as it was asked for; `address` is its HostName.
        user: as whom to log in there.
        jump: the last host in between, or nothing.
    """
    here = socket.gethostname()
    connection = f"{here}{address}{port}{user}{jump}"
    return {
        "%": "%",
        "C": hashlib.sha1(connection.encode(), usedforsecurity=False).hexdigest(),
        "d": str(Path.home()),
        "h": address,
        "i": str(os.getuid()) if hasattr(os, "getuid") else "",
        "j": jump,
        "k": alias or name,
        "L": here.split(".")[0],
        "l": here,
        "n": name,
        "p": str(port),
        "r": user,
        "u": own_name(),
    }


def own_name() -> str:
    """Who runs this, as the list of users has it, or else the environment; empty for nobody."""
    try:
        import pwd  # Not on Windows.

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        with suppress(KeyError, OSError):
            return getpass.getuser()
    return ""


def expand(text: str, known: Mapping[str, str], *, environment: bool = True) -> str:
    """Put in what `%` and a letter, or `${NAME}`, stand for.

    Args:
        environment: without it, `${NAME}` is left as it is: a shell's.

    Raises:
        ValueError: there is no such letter, or the environment has no such name.
    """

    def value(match: re.Match[str]) -> str:
        if match[2] is not None:
            if not environment:
                return match[0]
            if match[2] in os.environ:
                return os.environ[match[2]]
            raise ValueError(f"{text} needs the environment's {match[2]}, which is not set")
        if match[1] in known:
            return known[match[1]]
        raise ValueError(f"{text} has %{match[1]}, which stands for nothing there")

    return _TOKEN.sub(value, text)
