"""Lines of an ssh_config: what is a word there, and which files an Include means."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from apps.ops.remote.failures import RemoteFailed

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
MAX_DEPTH = 16  # OpenSSH's.
INCLUDE = re.compile(r"^\s*include[\s=]+(.+?)\s*$", re.IGNORECASE)
_WORD = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')


def words(text: str) -> list[str]:
    """The words of a value, without their quotes, up to a comment behind them."""
    found = []
    for match in _WORD.finditer(text):
        if match[0].startswith("#"):
            break
        found.append(next(part for part in match.groups() if part is not None))
    return found


def user_config() -> Path:
    """Raises:
    RemoteFailed: neither HOME nor the list of users has a home for who runs this.
    """
    try:
        return Path.home() / ".ssh" / "config"
    except RuntimeError as error:
        raise RemoteFailed(
            "Nothing says where ~/.ssh is: HOME is not set, and the list of users has no home.",
            next="HOME=/home/… manage.py …",
        ) from error


def base_of(config: Path) -> Path:
    """What the relative names in its Includes begin at."""
    return config.parent if config == SYSTEM_CONFIG else Path.home() / ".ssh"


def included(pattern: str, base: Path) -> Sequence[Path]:
    absolute = base / Path(pattern).expanduser()
    # Not Path.glob, which also finds hidden files.
    return [Path(name) for name in sorted(glob.glob(str(absolute)))]  # noqa: PTH207
