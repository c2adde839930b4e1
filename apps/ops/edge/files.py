"""Who gets the traffic: small files that Caddy looks at on every request.

Every write is atomic (temporary file, fsync, rename, fsync of the directory): Caddy sees the old
state or the new one, also across a power cut.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

from apps.ops.colors import Color

PREVIEW_SECONDS = 3600.0


class Edge:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._green = directory / "live" / "green"
        self._maintenance = directory / "maintenance"

    def live(self) -> Color:
        """The colour that Caddy routes to, at this moment."""
        return Color.GREEN if self._green.exists() else Color.BLUE

    def point_to(self, color: Color) -> None:
        """Move the traffic: the commit point of a deployment."""
        if color is Color.GREEN:
            _write(self._green)
        else:
            _remove(self._green)

    def in_maintenance(self) -> bool:
        return self._maintenance.exists()

    @contextmanager
    def preview(self, color: Color) -> Iterator[str]:
        """A token that lets a request see this colour through the front door while this lasts."""
        token = self.issue_preview(color)
        try:
            yield token
        finally:
            _remove(self._preview(color, token))

    def issue_preview(self, color: Color) -> str:
        """A token that is good until PREVIEW_SECONDS have passed and somebody forgets old ones."""
        self.forget_old_previews()
        token = secrets.token_urlsafe(32)
        _write(self._preview(color, token))
        return token

    def forget_old_previews(self) -> None:
        for file in self._directory.glob("preview/*/t-*"):
            if time() - file.stat().st_mtime > PREVIEW_SECONDS:
                _remove(file)

    def _preview(self, color: Color, token: str) -> Path:
        return self._directory / "preview" / color / f"t-{token}"


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _fsync_directory(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        _fsync_directory(path.parent)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
