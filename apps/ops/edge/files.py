"""Who gets the traffic: small files that Caddy looks at on every request.

Every write is atomic (temporary file, fsync, rename, fsync of the directory): Caddy sees the old
state or the new one, also across a power cut.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from apps.ops import durable
from apps.ops.colors import Color

PREVIEW_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Who put the maintenance page up, why, and since when.

    A page that was put up by hand (`touch`) names nobody and no reason. `deployment` is the uid of
    the deployment that put it up for its own time, "" when it was a person.
    """

    by: str = ""
    reason: str = ""
    since: datetime
    deployment: str = ""


class Edge:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._green = directory / "live" / "green"
        self._parked = directory / "live" / ".green"
        self._maintenance = directory / "maintenance"

    def live(self) -> Color:
        """The colour that Caddy routes to, at this moment."""
        return Color.GREEN if self._green.exists() else Color.BLUE

    def point_to(self, color: Color) -> None:
        """Move the traffic: the commit point of a deployment.

        To blue and back to green is a rename each: a full disk must not stand between a bad release
        and the way back.

        Raises:
            OSError: the traffic did not move.
        """
        try:
            if color is Color.GREEN:
                self._unpark()
            else:
                self._park()
        except OSError:
            # Once it is renamed Caddy sees it: that the directory could not be synced afterwards
            # does not take it back.
            if self.live() is not color:
                raise

    def in_maintenance(self) -> bool:
        return self._maintenance.exists()

    def maintenance(self) -> Maintenance | None:
        """Who put the maintenance page up; None when it is not up."""
        try:
            made = datetime.fromtimestamp(self._maintenance.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        try:
            record = json.loads(self._maintenance.read_text())
            return Maintenance(
                by=str(record["by"]),
                reason=str(record["reason"]),
                since=datetime.fromisoformat(record["since"]).astimezone(UTC),
                deployment=str(record.get("deployment", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return Maintenance(since=made)

    def maintenance_on(self, *, by: str, reason: str, deployment: str = "") -> None:
        """Answer every visitor with the maintenance page, from the next request on.

        One that is up already keeps its time and gets this name and reason.

        Raises:
            OSError: it could not be put up.
        """
        before = self.maintenance()
        since = before.since if before else datetime.now(UTC)
        record = {
            "by": by,
            "reason": reason,
            "since": since.isoformat(timespec="seconds"),
            "deployment": deployment,
        }
        _write(self._maintenance, json.dumps(record) + "\n")

    def maintenance_off(self) -> None:
        _remove(self._maintenance)

    def _unpark(self) -> None:
        try:
            self._parked.rename(self._green)
        except FileNotFoundError:
            _write(self._green)
        else:
            durable.sync(self._green.parent)

    def _park(self) -> None:
        try:
            self._green.rename(self._parked)
        except FileNotFoundError:
            return  # Blue is live already, or somebody moved it by hand.
        durable.sync(self._green.parent)

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
            with suppress(FileNotFoundError):  # It ends at this moment.
                if time() - file.stat().st_mtime > PREVIEW_SECONDS:
                    _remove(file)

    def _preview(self, color: Color, token: str) -> Path:
        return self._directory / "preview" / color / f"t-{token}"


def _write(path: Path, text: str = "") -> None:
    _make(path.parent)
    durable.write(path, text)


def _make(directory: Path) -> None:
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(exist_ok=True)
    # Else a power cut could lose it, with the file that is on the disk in it.
    durable.sync(directory.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        durable.sync(path.parent)
