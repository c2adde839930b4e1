"""The newest verified backup: how old is it? The directory tells, also with Postgres down."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from apps.ops.backups import files
from apps.ops.conf import OpsSettings
from apps.ops.health.checks import sql
from apps.ops.health.result import Figure, Result, bad, good, unknown

NEXT = "manage.py backup_db"
HOUR = 3600


def look(settings: OpsSettings) -> Result:
    directory = settings.backup_dir
    if directory.is_dir() and not os.access(directory, os.R_OK | os.X_OK):
        return unknown(f"{directory} cannot be read by this user.", next="run it in utility")
    # A finished backup has its .sha256 beside it, which is written once it was verified.
    found = files.finished(directory)
    if not found:
        return _none_yet(settings)
    newest = found[0]
    hours = max((datetime.now(UTC) - newest.taken_at).total_seconds() / HOUR, 0)
    figures: dict[str, Figure] = {
        "hours": round(hours, 1),
        "size_mb": round((newest.size + newest.media_size) / 1e6, 1),
        "backups": len(found),
        "newest": newest.name,
    }
    if hours >= settings.health_backup_hours:
        return bad(
            f"The newest verified backup is {hours:.0f} hours old.",
            next=f"{NEXT}   # takes one; manage.py backup_db --list shows what failed",
            **figures,
        )
    return good(f"The newest verified backup is {hours:.1f} hours old.", **figures)


def _none_yet(settings: OpsSettings) -> Result:
    """A site that was first deployed today has its first night before it."""
    none = f"There is no verified backup in {settings.backup_dir}."
    try:
        with sql.asking() as postgres:
            row = postgres.execute("SELECT min(created_at) FROM ops_release").fetchone()
    except sql.Away as away:
        return bad(f"{none} ({away}.)", next=away.next)
    first = row[0] if row else None
    if first is None:
        return good("There is no backup, and nothing was deployed yet.")
    hours = (datetime.now(UTC) - first).total_seconds() / HOUR
    if hours >= settings.health_backup_hours:
        return bad(none, next=NEXT, site_hours=round(hours, 1))
    return good(
        f"There is no backup yet; the site was first deployed {hours:.1f} hours ago.",
        site_hours=round(hours, 1),
    )
