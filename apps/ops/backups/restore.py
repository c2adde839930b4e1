"""Putting a backup back: into a new database, which takes the old one's name when it is whole.

Both renames are one transaction, so at every moment exactly one whole database has the name. The
old one is kept under another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import psycopg
from django.conf import settings as django_settings
from django.db import DatabaseError, connections
from psycopg import errors, sql

from apps.ops.backups import databases, files, keep, server
from apps.ops.backups import media as uploads
from apps.ops.backups.files import BackupFile
from apps.ops.backups.take import take
from apps.ops.conf import OpsSettings
from apps.ops.errors import OpsError, Refused, StepFailed
from apps.ops.models import Backup
from apps.ops.processes import ProgramFailed, Say, run
from apps.ops.redact import first_line
from apps.ops.roles import rights

# One after the other: triggers are made when all rows are in. Side by side, those of a
# partitioned table would change the rows of its partitions.
SECTIONS = ("pre-data", "data", "post-data")


@dataclass(kw_only=True)
class Restored:
    """What came of it. `kept_as` is "" when there was no database before.

    `missing` are the migrations that the old database had and this one has not.
    """

    database: str
    kept_as: str
    safety: str = ""
    missing: list[str] = field(default_factory=list)
    media_kept_in: str = ""


def find(settings: OpsSettings, wanted: str) -> BackupFile:
    """A backup by its name, its number in the history, or "latest".

    Raises:
        Refused: there is no such backup.
        OpsError: a number was given, and Postgres does not answer.
    """
    there = files.finished(settings.backup_dir)
    if wanted == "latest" and there:
        return there[0]
    names = {wanted, f"{wanted}.dump"}
    if wanted.isdecimal() and len(wanted) < 19:
        try:
            names |= set(Backup.objects.filter(pk=int(wanted)).values_list("name", flat=True))
        except DatabaseError as error:
            raise OpsError(
                "Postgres has the numbers of the backups, and does not answer.",
                next="manage.py backup_db --list   # the names",
            ) from error
    for file in there:
        if file.name in names:
            return file
    raise Refused(
        f"There is no backup {wanted!r} in {settings.backup_dir}.",
        next="manage.py backup_db --list   # what there is",
    )


def check(file: BackupFile, *, media: bool) -> None:
    """Read the files and compare their checksums.

    Raises:
        Refused: a file is not what it was when the backup was taken, or not there.
    """
    wanted = [(file.path, file.sha256)]
    if media:
        if not file.media_sha256:
            raise Refused(
                f"{file.name} has no uploads.", next="leave out --media, or choose another backup"
            )
        wanted.append((file.media, file.media_sha256))
    for path, digest in wanted:
        try:
            found = files.sha256(path)
        except OSError as error:
            raise Refused(
                f"{path.name} cannot be read: {error}.", next="manage.py backup_db --list"
            ) from error
        if found != digest:
            raise Refused(
                f"{path.name} is damaged: its SHA-256 is not the one in "
                f"{files.sums_of(file.path).name}. Nothing was touched.",
                next="manage.py backup_db --list   # choose another one",
            )


def size_of_database() -> int | None:
    """In bytes; None when there is no such database.

    Raises:
        OpsError: Postgres does not answer.
    """
    with _explained(), server.connect() as postgres:
        row = postgres.execute(
            "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s", [server.name()]
        ).fetchone()
    return None if row is None else int(row[0])


def restore(
    settings: OpsSettings,
    file: BackupFile,
    *,
    requested_by: str,
    media: bool,
    safety: bool,
    say: Say,
    before_swap: Callable[[], object] = lambda: None,
) -> Restored:
    """Replace the database by a backup. Only under the deploy lock.

    Args:
        media: the uploads, too.
        safety: take a backup of what is there first.
        before_swap: called when it is too late to turn back.

    Raises:
        Refused: the backup is damaged.
        OpsError: it failed. The database is the old one, and so are the uploads unless it says so.
    """
    check(file, media=media)
    name = server.name()
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d_%H%M%S}"
    result = Restored(database=name, kept_as="")
    exists = size_of_database() is not None
    if safety and exists:
        result.safety = _safety_backup(settings, file, requested_by, media, say)
    aside = None
    if media:
        root = Path(django_settings.MEDIA_ROOT)
        aside = uploads.extract(file, root, stamp=stamp, seconds=settings.backup_seconds, say=say)
    fresh = databases.derived(name, "_restoring")
    try:
        with _explained():
            databases.create(fresh, name)
            _fill(settings, fresh, file.path, say)
            result.missing = _examine(settings, fresh, name if exists else None)
            # The site may do in it what it may now, not what it might when the backup was taken.
            with server.connect(fresh) as restored:
                rights.apply(restored.cursor(), django_settings.POSTGRES_LOGINS)
            connections.close_all()
            before_swap()
            say(f"{fresh} takes the name {name}")
            old = databases.name_for_the_old(name, stamp) if exists else ""
            databases.swap(fresh, name, old or None)
            result.kept_as = old
    except BaseException:
        with suppress(psycopg.Error):
            databases.drop(fresh)
        if aside:
            aside.drop()
        raise
    with suppress(DatabaseError), files.lock(settings.backup_dir, seconds=1, say=say):
        keep.reconcile(settings.backup_dir)
    if aside:
        result.media_kept_in = aside.move_in(stamp)
    return result


def _safety_backup(
    settings: OpsSettings, file: BackupFile, requested_by: str, media: bool, say: Say
) -> str:
    try:
        return take(
            settings,
            reason=f"before {file.name} is restored",
            requested_by=requested_by,
            release=None,
            media=media,
            say=say,
            spare=file.name,
        ).name
    except StepFailed as error:
        raise StepFailed(
            f"What is there could not be saved first, so nothing was restored. {error.found}",
            output=error.output,
            next=f"{error.next}; or, if it is beyond saving: "
            f"manage.py restore_db {file.name} --no-safety-backup",
        ) from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise OpsError(
            f"Nothing was restored, and the database is as it was: {first_line(error)}.",
            next="docker compose logs postgres   # why",
        ) from error


def _fill(settings: OpsSettings, fresh: str, dump: Path, say: Say) -> None:
    say(f"pg_restore {dump.name} into {fresh}")
    deadline = monotonic() + settings.backup_seconds
    try:
        for section in SECTIONS:
            run(
                [
                    *("pg_restore", "--exit-on-error", "--no-owner", "--jobs=2"),
                    f"--section={section}",
                    f"--dbname={server.address(fresh)}",
                    str(dump),
                ],
                seconds=max(deadline - monotonic(), 0),
                env=server.environment(),
                say=say,
            )
    except ProgramFailed as error:
        raise StepFailed(
            "pg_restore could not restore the backup. The database is as it was.",
            output=error.output,
            next="manage.py backup_db --list   # another backup; the lines above say what is wrong",
        ) from error


def _examine(settings: OpsSettings, fresh: str, old: str | None) -> list[str]:
    """Whether it looks like this project's; the migrations that only the old one has."""
    with server.connect(fresh) as restored:
        try:
            has = _migrations(restored)
        except errors.UndefinedTable:
            has = set()
        if not has:
            raise StepFailed(
                "The restored database has no migrations: it is not one of a Django project. "
                "The database is as it was.",
                next="manage.py backup_db --list   # choose another one",
            )
        # Without statistics every query would be planned badly until autovacuum comes by.
        milliseconds = int(settings.backup_seconds * 1000)
        restored.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(milliseconds)))
        restored.execute("ANALYZE")
    had: set[str] = set()
    if old:
        # One that is broken is the reason to restore.
        with suppress(psycopg.Error), server.connect(old) as before:
            had = _migrations(before)
    return sorted(had - has)


def _migrations(database: psycopg.Connection) -> set[str]:
    rows = database.execute("SELECT app || '.' || name FROM django_migrations").fetchall()
    return {str(name) for (name,) in rows}
