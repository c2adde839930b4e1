"""The backup directory. What lies there is what there is: rows about it may be lost."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from apps.ops.errors import StepFailed
from apps.ops.processes import Say

_NAME = re.compile(r".+-(\d{8}-\d{6})(?:-\d+)?\.dump")
_STAMP = "%Y%m%d-%H%M%S"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A finished backup. `name` is that of the dump; what belongs to it lies beside it.

    `sha256` and `media_sha256` are what the .sha256 file says ("" when it says nothing).
    """

    path: Path
    taken_at: datetime
    sha256: str
    media_sha256: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def media(self) -> Path:
        return media_of(self.path)

    @property
    def size(self) -> int:
        """In bytes; 0 when it is gone meanwhile."""
        return _size(self.path)

    @property
    def media_size(self) -> int:
        return _size(self.media)


def new_name(database: str, moment: datetime, taken: Callable[[str], bool]) -> str:
    base = f"{database}-{moment.astimezone(UTC):{_STAMP}}"
    name, number = f"{base}.dump", 2
    while taken(name):
        name, number = f"{base}-{number}.dump", number + 1
    return name


def is_ours(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and "/" not in name and not name.startswith(".")


def media_of(dump: Path) -> Path:
    return dump.with_name(f"{dump.name.removesuffix('.dump')}.media.tar.gz")


def sums_of(dump: Path) -> Path:
    return dump.with_name(f"{dump.name}.sha256")


def partial_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def belongings(dump: Path) -> tuple[Path, ...]:
    """The files of a backup, whether or not they are there; the dump is the last."""
    return sums_of(dump), media_of(dump), dump


def finished(directory: Path) -> list[BackupFile]:
    """The newest first. A dump without its .sha256 is not finished, or not ours."""
    found = []
    for path in directory.glob("*.dump") if directory.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        sums = read_sums(path)
        if match and path.name in sums:
            taken_at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
            media = sums.get(media_of(path).name, "")
            found.append(BackupFile(path, taken_at, sums[path.name], media))
    return sorted(found, key=lambda file: (file.taken_at, len(file.name), file.name), reverse=True)


def read_sums(dump: Path) -> dict[str, str]:
    """Checksums by file, from the .sha256 beside a dump."""
    try:
        lines = sums_of(dump).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("  ") for line in lines)
    return {file: digest for digest, _, file in pairs if re.fullmatch(r"[0-9a-f]{64}", digest)}


def sha256(path: Path) -> str:
    """Of what is on the disk, not of what the kernel remembers of it where that can be helped."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(directory: Path, *, seconds: float, say: Say) -> Iterator[None]:
    """One backup at a time. Whoever holds this knows that no other one is being taken.

    Raises:
        StepFailed: the directory cannot be written, or the other backup took too long.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StepFailed(
            f"The backup directory cannot be written: {error}.",
            next="docker compose run --rm utility df -h   # is OPS_BACKUP_DIR there?",
        ) from error
    try:
        deadline, waiting = monotonic() + seconds, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    raise StepFailed(
                        f"Another backup is being taken, for more than {seconds:g} s.",
                        next="manage.py backup_db --list   # shows it",
                    ) from None
                if not waiting:
                    say("Another backup is being taken: waiting for its end.")
                    waiting = True
                sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
