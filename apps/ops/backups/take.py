"""Taking a backup. Until it is verified it has no name that anything else looks at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import IO, Self

from django.conf import settings as django_settings
from django.db import DatabaseError, ProgrammingError
from django.utils import timezone

from apps.ops.backups import files, keep, server
from apps.ops.backups import media as uploads
from apps.ops.backups.pour import pour
from apps.ops.conf import OpsSettings
from apps.ops.errors import OpsError, StepFailed
from apps.ops.models import Backup, Release
from apps.ops.processes import ProgramFailed, Say, run
from apps.ops.redact import Redactor, first_line

LOCK_WAIT_SECONDS = 60


def take(
    settings: OpsSettings,
    *,
    reason: str,
    requested_by: str,
    release: str | None,
    media: bool,
    say: Say,
    spare: str = "",
) -> Backup:
    """Dump the database into the backup directory, verify the file, and let old ones go.

    It is recorded in the database too, unless that has no table for it (an empty one has not).

    Args:
        release: the SHA of the release that serves, as far as known.
        media: with the uploads; OPS_BACKUP_MEDIA says so for every backup.
        spare: the name of a backup that must not be let go.

    Raises:
        StepFailed: nothing that looks like a backup is left.
    """
    with files.lock(settings.backup_dir, seconds=settings.backup_seconds, say=say):
        with _explained(settings), suppress(ProgrammingError):
            keep.reconcile(settings.backup_dir)
        now = timezone.now()
        row = Backup(reason=reason[:200], requested_by=requested_by[:150], started_at=now)
        row.name = files.new_name(server.name(), now, lambda name: _is_taken(settings, name))
        dump = settings.backup_dir / row.name
        try:
            with _explained(settings):
                keep.remove_partials(settings.backup_dir)
                _record(row, release)
                _write(settings, row, media=media or settings.backup_media, say=say)
                row.status, row.finished_at = Backup.Status.VERIFIED, timezone.now()
                _record(row)
        except BaseException as error:
            for path in files.belongings(dump):
                with suppress(OSError):
                    files.partial_of(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
            row.status, row.finished_at = Backup.Status.FAILED, timezone.now()
            said = getattr(error, "output", "") or ""
            row.error = Redactor.from_environment().clean(f"{error}\n{said}".strip())
            with suppress(DatabaseError):
                _record(row)
            raise
        with suppress(DatabaseError):
            for name in keep.prune(settings, say=say, spare=spare):
                say(f"{name} was removed: it is older than {settings.backup_keep_days} days.")
    return row


def _record(row: Backup, release: str | None = None) -> None:
    with suppress(ProgrammingError):  # There is no such table in an empty database.
        if release:
            row.release = Release.objects.filter(sha=release).first()
        row.save()


def _is_taken(settings: OpsSettings, name: str) -> bool:
    with suppress(DatabaseError):
        if Backup.objects.filter(name=name).exists():
            return True
    return any(path.exists() for path in files.belongings(settings.backup_dir / name))


@contextmanager
def _explained(settings: OpsSettings) -> Iterator[None]:
    """Turn what can go wrong into what the operator has to know."""
    try:
        yield
    except OpsError:
        raise
    except ProgrammingError:
        raise
    except DatabaseError as error:
        raise StepFailed(
            f"No backup was taken: Postgres does not answer as it should ({first_line(error)}).",
            next="docker compose ps --all postgres",
        ) from error
    except OSError as error:
        raise StepFailed(
            f"No backup was taken: it could not be written to {settings.backup_dir} ({error}).",
            next="docker compose run --rm utility df -h   # make room, or lower OPS_BACKUP_KEEP",
        ) from error


def _write(settings: OpsSettings, row: Backup, *, media: bool, say: Say) -> None:
    deadline = monotonic() + settings.backup_seconds
    dump = settings.backup_dir / row.name
    say(f"pg_dump {server.name()} to {row.name}")
    with _Hashed(files.partial_of(dump)) as out:
        _dump(out, deadline, settings.backup_seconds)
    row.size, row.sha256 = out.size, out.digest
    made, sums = [dump], [f"{row.sha256}  {dump.name}\n"]
    if media:
        archive = files.media_of(dump)
        say(f"uploads to {archive.name}")
        with _Hashed(files.partial_of(archive)) as out:
            uploads.archive(
                Path(django_settings.MEDIA_ROOT),
                out,
                deadline=deadline,
                seconds=settings.backup_seconds,
                say=say,
            )
        row.media_size, row.media_sha256 = out.size, out.digest
        made.append(archive)
        sums.append(f"{row.media_sha256}  {archive.name}\n")
    for path, digest in zip(made, (row.sha256, row.media_sha256), strict=False):
        if files.sha256(files.partial_of(path)) != digest:
            raise StepFailed(
                f"{path.name} does not read back as it was written: the disk cannot be trusted.",
                next="dmesg | tail   # what the kernel says about the disk",
            )
    try:
        left = max(deadline - monotonic(), 1)
        run(["pg_restore", "--list", str(files.partial_of(dump))], seconds=left)
    except ProgramFailed as error:
        raise StepFailed(
            "The dump was written and pg_restore cannot read it.",
            output=error.output,
            next="pg_dump --version; pg_restore --version   # they should be the same",
        ) from error
    with _Hashed(files.partial_of(files.sums_of(dump))) as out:
        out.write("".join(sums).encode())
    # The dump last: only with all that belongs to it is it a backup.
    for path in (files.sums_of(dump), *reversed(made)):
        files.partial_of(path).rename(path)
    files.sync_directory(settings.backup_dir)
    say(f"{row.name}: {row.size + row.media_size:,} bytes, verified")


class _Hashed:
    """A new file that nobody else may read; its checksum is that of what was given to it."""

    def __init__(self, path: Path) -> None:
        self._sum = hashlib.sha256()
        self._file: IO[bytes] = os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
        )
        self.size = 0

    @property
    def digest(self) -> str:
        return self._sum.hexdigest()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._sum.update(data)
        self.size += len(data)
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            with suppress(OSError):
                # Closing writes what is left: on a full disk that fails like the write before it.
                self._file.close()


def _dump(out: _Hashed, deadline: float, seconds: float) -> None:
    argv = ["pg_dump", "--format=custom", f"--lock-wait-timeout={LOCK_WAIT_SECONDS * 1000}"]
    try:
        code, said = pour(
            [*argv, f"--dbname={server.address(server.name())}"],
            out,
            deadline=deadline,
            env=server.program_environment(),
        )
    except FileNotFoundError as error:
        raise StepFailed(
            f"pg_dump could not be started: {error}.",
            next="docker compose run --rm utility pg_dump --version",
        ) from error
    if code is None:
        raise StepFailed(
            f"pg_dump did not end within {seconds:g} s and was ended.",
            output=said,
            next="give it more time: OPS_BACKUP_SECONDS in .env",
        )
    if code:
        raise StepFailed(
            f"pg_dump ended with exit code {code}.",
            output=said,
            next="docker compose logs postgres   # the last line above says what pg_dump met",
        )
