"""The uploads: taken into a backup, and put back.

The site's code can change their tree at any moment, and this runs as root. So nothing in it is
opened by a path from here: a process without any right reads and writes it (confined.py), and what
is moved is moved by names in directories that are held open.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from apps.ops.backups import confined
from apps.ops.backups.files import BackupFile
from apps.ops.backups.pour import Sink, pour
from apps.ops.errors import OpsError, StepFailed
from apps.ops.processes import Say

PROGRAM = (sys.executable, "-I", confined.__file__)
# Of what is free: the rest of the server needs some, too.
SHARE_OF_ROOM = 0.9
UNCOUNTED = 1 << 62
ATTEMPTS = 5
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def archive(root: Path, out: Sink, *, deadline: float, seconds: float, say: Say) -> None:
    """Every file, link and directory below `root`, links as links.

    Raises:
        StepFailed: it took longer than until `deadline`, or failed.
    """
    with _opened(root) as directory:
        argv = [*PROGRAM, "pack", str(directory)]
        code, said = pour(argv, out, deadline=deadline, env={}, pass_fds=(directory,))
    for line in said.splitlines():
        say(line)
    if code is None:
        raise StepFailed(
            f"The uploads could not be archived within {seconds:g} s.",
            next="give it more time: OPS_BACKUP_SECONDS in .env",
        )
    if code:
        raise StepFailed(
            f"The uploads could not be archived: {_last(said)}.",
            output=said,
            next="docker compose run --rm utility df -h   # is there room, and is the volume well?",
        )


@dataclass
class Aside:
    """Uploads that were extracted and wait for their place, where only root can look.

    `root` and `tree` are descriptors: of the media directory, and of what was extracted.
    """

    root: int
    path: Path
    name: str
    tree: int

    def drop(self) -> None:
        _remove(self.name, self.root)
        os.close(self.tree)
        os.close(self.root)

    def move_in(self, stamp: str) -> str:
        """What is there goes aside and what was extracted comes in: renames, so it takes no time.

        Returns:
            Where the old ones are.

        Raises:
            OpsError: only a part of them is in its place.
        """
        before = f".before-{stamp}"
        try:
            old = _new_directory(self.root, before)
            try:
                for name in _names(self.root):
                    if not name.startswith(confined.ASIDE):
                        os.rename(name, name, src_dir_fd=self.root, dst_dir_fd=old)
                for name in _names(self.tree):
                    self._move(name, old)
            finally:
                os.close(old)
        except OSError as error:
            new = self.path / self.name / "tree"
            raise OpsError(
                f"The database is restored. The uploads are only partly in their place ({error}): "
                f"the old ones are in {self.path / before}, the new ones in {new}.",
                next=f"mv {new}/* {self.path}/",
            ) from error
        self.drop()
        return str(self.path / before)

    def _move(self, name: str, old: int) -> None:
        """The site may have made something of that name meanwhile: it goes to the old ones."""
        for attempt in range(ATTEMPTS):
            try:
                return os.rename(name, name, src_dir_fd=self.tree, dst_dir_fd=self.root)
            except OSError as error:
                if error.errno not in IN_THE_WAY:
                    raise
                os.rename(name, f"{name}.{attempt}", src_dir_fd=self.root, dst_dir_fd=old)
        raise FileExistsError(f"{name} is made again and again")


def extract(file: BackupFile, root: Path, *, stamp: str, seconds: float, say: Say) -> Aside:
    """Extract a backup's uploads to where the site's code cannot look, as the site's user.

    Raises:
        StepFailed: the archive is not whole, hostile, or larger than the room that is left.
    """
    name = f".restoring-{stamp}"
    say(f"{file.media.name} into {root / name}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        aside = _prepare(root, name)
    except OSError as error:
        raise _not_extracted(str(error)) from error
    try:
        room = os.fstatvfs(aside.root)
        size = int(room.f_bavail * room.f_frsize * SHARE_OF_ROOM)
        count = int(room.f_favail * SHARE_OF_ROOM) if room.f_files else UNCOUNTED
        with file.media.open("rb") as content:
            code, said = pour(
                [*PROGRAM, "unpack", str(aside.tree), str(size), str(count)],
                _Nothing(),
                deadline=monotonic() + seconds,
                env={},
                stdin=content,
                pass_fds=(aside.tree,),
            )
        lines = said.splitlines()
        for line in lines[:-1] if code else lines:
            say(line)
        if code != 0:
            raise _not_extracted(_last(said) if code else f"it took more than {seconds:g} s")
    except OSError as error:
        aside.drop()
        raise _not_extracted(str(error)) from error
    except BaseException:
        aside.drop()
        raise
    return aside


class _Nothing:
    def write(self, data: bytes, /) -> int:
        return len(data)


def _prepare(root: Path, name: str) -> Aside:
    held = os.open(root, _OPEN)
    try:
        for left in _names(held):  # By a restore that was killed.
            if left.startswith(".restoring-"):
                _remove(left, held)
        outer = _new_directory(held, name)
        try:
            os.mkdir("tree", 0o755, dir_fd=outer)
            tree = os.open("tree", _OPEN, dir_fd=outer)
        finally:
            os.close(outer)
        if os.geteuid() == 0:
            os.fchown(tree, confined.WEB, confined.WEB)
    except BaseException:
        os.close(held)
        raise
    return Aside(held, root, name, tree)


def _remove(name: str, parent: int) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=parent)
    shutil.rmtree(name, ignore_errors=True, dir_fd=parent)


def _new_directory(parent: int, name: str) -> int:
    """Make and open a directory that only we may enter; the parent is not ours alone."""
    os.mkdir(name, 0o700, dir_fd=parent)
    made = os.open(name, _OPEN, dir_fd=parent)
    found = os.fstat(made)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077 or _names(made):
        os.close(made)
        raise PermissionError(f"{name} is not what was made: something else has taken its place")
    return made


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, _OPEN)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _names(directory: int) -> list[str]:
    return sorted(os.listdir(directory))


def _not_extracted(why: str) -> StepFailed:
    return StepFailed(
        f"The uploads could not be extracted ({why}). They and the database are as they were.",
        next="df -h   # whether there is room",
    )


def _last(said: str) -> str:
    return (said.splitlines() or ["it said nothing"])[-1].rstrip(".")
