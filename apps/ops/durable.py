"""Files that are whole or not there, and on the disk when the call returns."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str = "") -> None:
    """Put a file there, or in the place of the one that is there. Its directory must exist.

    Raises:
        OSError: it could not be written; what was there is there still.
    """
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync(path.parent)


def sync(directory: Path) -> None:
    """Let what was made, renamed or removed in a directory survive a power cut.

    Raises:
        OSError: it could not be written.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
