"""Which backups stay, and rows that agree with the files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from apps.ops.backups import files
from apps.ops.conf import OpsSettings
from apps.ops.models import Backup
from apps.ops.processes import Say
from apps.ops.variables import wrong_variables


def reconcile(directory: Path) -> None:
    """Close what was left running, and know every finished file. Only under `files.lock`.

    The row of a backup says "running" in its own dump, and later backups are not in it at all: so
    rows and files disagree after every restore.
    """
    found = {file.name: file for file in files.finished(directory)}
    for row in Backup.objects.filter(status=Backup.Status.RUNNING):
        if row.name not in found:
            row.status, row.finished_at = Backup.Status.FAILED, timezone.now()
            row.error = "Its process ended without a word."
            row.save()
    good = Backup.objects.filter(status=Backup.Status.VERIFIED)
    known = set(good.values_list("name", flat=True))
    gone = [n for n in known if n not in found and not (directory / n).exists()]
    good.filter(name__in=gone).update(status=Backup.Status.REMOVED)
    for file in sorted(found.values(), key=lambda file: file.taken_at):
        if file.name not in known:
            row, _created = Backup.objects.get_or_create(
                name=file.name, defaults={"started_at": file.taken_at, "reason": "not recorded"}
            )
            row.status, row.error = Backup.Status.VERIFIED, ""
            row.size, row.sha256 = file.size, file.sha256
            row.media_size, row.media_sha256 = file.media_size, file.media_sha256
            row.finished_at = row.finished_at or file.taken_at
            row.save()


def remove_partials(directory: Path) -> None:
    """What killed backups left. Only under `files.lock`."""
    for path in directory.glob(".*.partial"):
        name = path.name.removeprefix(".").removesuffix(".partial")
        if files.is_ours(name.replace(".media.tar.gz", ".dump").removesuffix(".sha256")):
            path.unlink(missing_ok=True)


def prune(settings: OpsSettings, *, say: Say, spare: str = "") -> list[str]:
    """Remove the backups that are neither among the newest nor young. Only under `files.lock`.

    Args:
        spare: a backup that stays in any case.

    Returns:
        The names of those that were removed.
    """
    if wrong_variables():
        say("No old backup is removed: .env may mean to keep more than is known here.")
        return []
    verified = Backup.objects.filter(status=Backup.Status.VERIFIED).order_by("-started_at", "-id")
    there = [
        row
        for row in verified
        if files.is_ours(row.name) and (settings.backup_dir / row.name).exists()
    ]
    oldest = timezone.now() - timedelta(days=settings.backup_keep_days)
    removed = []
    for row in there[max(settings.backup_keep, 1) :]:
        if row.started_at >= oldest or row.name == spare:
            continue
        try:
            # The checksums first: a dump without them counts no longer, should we end in between.
            for path in files.belongings(settings.backup_dir / row.name):
                path.unlink(missing_ok=True)
        except OSError as error:
            say(f"{row.name} could not be removed: {error}.")
            continue
        row.status = Backup.Status.REMOVED
        row.save(update_fields=["status"])
        removed.append(row.name)
    return removed
