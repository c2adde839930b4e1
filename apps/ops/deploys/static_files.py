"""Which release named which hashed files: what must be served still, and what nobody names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from apps.ops import durable

DIRECTORY = "static"


def remember(state_dir: Path, release: str, names: Iterable[str]) -> None:
    """Write down a release's hashed names, atomically: `state_dir`/static/SHA.json."""
    directory = state_dir / DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    durable.write(directory / f"{release}.json", json.dumps(sorted(names)))


def remembered(state_dir: Path) -> dict[str, set[str]]:
    """Hashed names by release.

    Raises:
        ValueError: a file is not what `remember` writes.
    """
    found = {}
    for path in (state_dir / DIRECTORY).glob("*.json"):
        names = json.loads(path.read_text())
        if not isinstance(names, list):
            raise ValueError(f"{path} is not a list")
        found[path.stem] = {str(name) for name in names}
    return found


def forget(state_dir: Path, release: str) -> None:
    (state_dir / DIRECTORY / f"{release}.json").unlink(missing_ok=True)


def unnamed(names: Mapping[str, set[str]], keep: set[str]) -> set[str]:
    """What only releases that are not kept name; never a file that no release of ours names."""
    kept = set[str]().union(*(names[release] for release in names.keys() & keep))
    return set[str]().union(*names.values()) - kept


def missing(names: Iterable[str], directory: Path) -> list[str]:
    """The names that have no file below a directory, in order."""
    return sorted(name for name in names if not (directory / name).is_file())
