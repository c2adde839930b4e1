"""Packs and unpacks uploads in a process that first gives up all that it could be misled to.

    python -I confined.py pack DIRECTORY              a .tar.gz to stdout
    python -I confined.py unpack DIRECTORY BYTES FILES   one from stdin, of so much and no more

DIRECTORY is an open descriptor. Started by root the process makes it its root directory and becomes
the user that the site's code runs as: whatever is put into that tree, or swapped in it at this
moment, it reaches nothing that the site's code does not reach by itself. Only the standard library,
and no import after that: there is no file to import from.

stderr says what was left out. Exit code 0, or 1: the last line of stderr says why.
"""

from __future__ import annotations

import gzip  # noqa: F401  (tarfile imports it when it is too late)
import os
import resource
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

# The image's user `app` (Dockerfile).
WEB = 10001
MEMORY = 1 << 30
ASIDE = (".restoring-", ".before-")
SHOWN = 5


class Refused(Exception):
    """What was asked for is not done, for this reason."""


class LeftOut:
    """What is not taken along: the first few by name."""

    def __init__(self) -> None:
        self._count = 0

    def note(self, name: str, why: str) -> None:
        self._count += 1
        if self._count <= SHOWN:
            # A name may have control characters, and not be text at all.
            sys.stderr.write(f"left out: {name!a} ({why})\n")

    def close(self) -> None:
        if self._count > SHOWN:
            sys.stderr.write(f"left out: {self._count - SHOWN} more\n")


class _Exactly:
    """So many bytes of a file, whatever becomes of it meanwhile: what is missing is zeros."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        data += bytes(min(size, self._left) - len(data))
        self._left -= len(data)
        return data


def confine(directory: int) -> None:
    os.fchdir(directory)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if os.geteuid() == 0:
        os.chroot(".")
        os.setgroups([])
        os.setresgid(WEB, WEB, WEB)
        os.setresuid(WEB, WEB, WEB)


def pack(out: IO[bytes], left_out: LeftOut) -> None:
    """Files, links and directories. What goes away meanwhile is not in it."""
    with tarfile.open(fileobj=out, mode="w|gz", format=tarfile.PAX_FORMAT) as archive:
        for path, name, directory in _tree(left_out):
            try:
                _add(archive, path, name, directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                # ELOOP: a link has taken its place.
                left_out.note(path, error.strerror or str(error))


def _tree(left_out: LeftOut) -> Iterator[tuple[str, str, int]]:
    """Paths, with the name and the descriptor of the directory that it is in."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            left_out.note(str(error.filename), error.strerror or str(error))

    for path, folders, names, directory in os.fwalk(".", onerror=unreadable):
        if path == ".":
            folders[:] = [name for name in folders if not name.startswith(ASIDE)]
        folders.sort()
        for name in (*folders, *sorted(names)):
            yield os.path.normpath(os.path.join(path, name)), name, directory  # noqa: PTH118


def _add(archive: tarfile.TarFile, path: str, name: str, directory: int) -> None:
    member = tarfile.TarInfo(path)
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        # NONBLOCK: what is a file now is perhaps a FIFO when it is opened.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as content:
            found = os.fstat(content.fileno())
            if stat.S_ISREG(found.st_mode):
                _describe(member, found)
                member.size = found.st_size
                archive.addfile(member, cast("IO[bytes]", _Exactly(content, member.size)))
        return
    _describe(member, found)
    if stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        member.type = tarfile.SYMTYPE
        member.linkname = os.readlink(name, dir_fd=directory)
    else:
        return  # A socket, a FIFO, a device: nothing to keep.
    archive.addfile(member)


def _describe(member: tarfile.TarInfo, found: os.stat_result) -> None:
    member.mode, member.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
    member.uid, member.gid = found.st_uid, found.st_gid


def unpack(archive_file: IO[bytes], left_out: LeftOut, *, size: int, files: int) -> None:
    """Everything of an archive that is a file, a directory, or a link that stays inside.

    Raises:
        Refused: a name leads out of the directory, or there is more than `size` bytes or `files`
            names.
    """
    with tarfile.open(fileobj=archive_file, mode="r|gz") as archive:
        for member in archive:
            if member.issparse():
                raise Refused(f"{member.name!a} is a sparse file, which no backup has")
            files -= 1
            size -= max(member.size, 0)
            if size < 0 or files < 0:
                raise Refused("it holds more than there is room for")
            if not (member.isreg() or member.isdir() or member.issym()):
                left_out.note(member.name, "no file, directory or link")
                continue
            if _leads_out(member.name):
                raise Refused(f"{member.name!a} leads out of the directory")
            if member.issym() and _leads_out(
                os.path.join(os.path.dirname(member.name), member.linkname)  # noqa: PTH118, PTH120
            ):
                left_out.note(member.name, "a link that leads elsewhere")
                continue
            archive.extract(tarfile.data_filter(member, "."), ".", filter="fully_trusted")


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in os.path.normpath(name).split("/")


def main(what: str, directory: str, *limits: str) -> int:
    left_out = LeftOut()
    try:
        confine(int(directory))
        if what == "pack":
            pack(sys.stdout.buffer, left_out)
            sys.stdout.flush()
        else:
            size, files = map(int, limits)
            unpack(sys.stdin.buffer, left_out, size=size, files=files)
    except (Refused, OSError, tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        left_out.close()
        sys.stderr.write(f"{error}\n")
        return 1
    except MemoryError:
        sys.stderr.write("a header of it is larger than any real one\n")
        return 1
    left_out.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
