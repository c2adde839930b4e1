"""Where HOME is another directory than the list of users has (sudo -E, a container).

OpenSSH looks for `~` in that list only: it is shown copies of the configuration that name HOME.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from apps.ops.remote.config_lines import (
    INCLUDE,
    SYSTEM_CONFIG,
    base_of,
    included,
    user_config,
    words,
)

_HOME = re.compile(r"""(?<![^\s="',])~(?=/)|(?<!%)%d""")


def listed_home() -> Path | None:
    """This user's home as OpenSSH has it; None for a user who is on no list: ssh serves none."""
    import pwd  # Not on Windows.

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


@contextmanager
def seen_from_here(default_user: str | None = None) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A file for `ssh -F` that says what the user's and the system's configuration say here.

    Args:
        default_user: who it is when nothing names a user.

    Yields:
        The file, and by the name of each copy what it is a copy of: for messages.

    Raises:
        OSError: there is no room for copies.
    """
    with tempfile.TemporaryDirectory(prefix="changeover-ssh-") as name:
        copies = _Copies(Path(name))
        lines = [f"Match all\nUser {default_user}"] if default_user else []
        for config in (SYSTEM_CONFIG, user_config()):
            if config.exists():
                lines.insert(0, f'Match all\nInclude "{copies.of(config, base_of(config))}"')
        first = Path(name, "config")
        first.write_text("\n".join(lines) + "\n")
        yield first, copies.names


class _Copies:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[Path, Path] = {}
        self.names: dict[str, str] = {}

    def of(self, path: Path, base: Path) -> Path:
        """The same one for a file that is included again, also by itself: a loop stays one."""
        if path in self._made:
            return self._made[path]
        copy = self._made[path] = self._directory / f"{len(self._made)}.config"
        try:
            text = path.read_text(errors="surrogateescape")
            if path.stat().st_uid not in (0, os.getuid()):
                raise PermissionError
        except OSError:
            self._made[path] = path  # ssh says what is wrong with it.
            return path
        self.names[str(copy)] = str(path)
        lines = [self._line(line, base) for line in text.split("\n")]
        copy.write_text("\n".join(lines), errors="surrogateescape")
        shutil.copymode(path, copy)  # ssh refuses what others may write.
        return copy

    def _line(self, line: str, base: Path) -> str:
        home = str(Path.home())
        if " " not in home:
            line = _HOME.sub(lambda match: home, line)
        if not (include := INCLUDE.match(line)):
            return line
        found = []
        for pattern in words(include[1]):
            try:
                files = included(pattern, base)
            except (RuntimeError, ValueError):  # ~nobody: ssh says so.
                return line
            found += [str(self.of(path, base)) for path in files]
            if "%" in pattern or "${" in pattern:
                found.append(pattern)
        return "Include " + " ".join(f'"{name}"' for name in found) if found else ""
