"""A private file on a server: read and replaced through SFTP."""

from __future__ import annotations

import posixpath
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from paramiko import SFTPClient, SSHException

from apps.ops.errors import OpsError, Refused, StepFailed
from apps.ops.remote.connection import Connection
from apps.ops.remote.failures import LinkLost, RemoteFailed

PRIVATE = 0o600
MAX_BYTES = 1_000_000
# No answer of SFTP's for so long means that the link is dead.
SECONDS = 30.0
# Seconds after which nobody is still writing a file.
OLD = 3600


class ServerFile:
    """Mode 0600, replaced by one rename; each replaced one is kept as a dated copy."""

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def read(self) -> str | None:
        """Its text, or None when there is no such file.

        Raises:
            Refused: it cannot be read, or is no text.
        """
        with self._sftp() as sftp:
            return self._read(sftp, self.path)

    def replace(self, text: str, *, expected: str | None) -> str | None:
        """Write a new one beside it, and rename that.

        Args:
            expected: what it said when the change was made, None for no file.

        Returns:
            The name of the copy of the old one, where there was one.

        Raises:
            Refused: it says something else than expected.
            StepFailed: the server does not take it (a full disk); the old one is as it was.
        """
        with self._sftp() as sftp:
            # A link stays a link: what it points to is replaced.
            path = self.path if expected is None else (sftp.normalize(self.path) or self.path)
            new = f"{path}.new-{secrets.token_hex(4)}"
            copy = None
            try:
                self._write(sftp, new, text, like=path)
                self._remove_strays(sftp, new)
                if self._read(sftp, path) != expected:
                    raise Refused(
                        f"{self.path} was changed by somebody else meanwhile.",
                        next=f"Look at theirs first: {self._connection.server.command('env diff')}",
                    )
                if expected is not None:
                    copy = self._free_name(sftp, path)
                    self._write(sftp, copy, expected, like=path)
                sftp.posix_rename(new, path)
            except BaseException:
                for begun in filter(None, (new, copy)):
                    with suppress(OSError, SSHException, EOFError):
                        sftp.remove(begun)
                raise
        # The rename, too, should outlive a power cut; where it cannot be asked for, it soon does.
        with suppress(RemoteFailed):
            self._connection.run(["sync", "--", posixpath.dirname(path)], seconds=SECONDS)
        return posixpath.basename(copy) if copy else None

    def _free_name(self, sftp: SFTPClient, path: str) -> str:
        name = f"{path}.before-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        try:
            sftp.stat(name)
        except FileNotFoundError:
            return name
        return f"{name}-{secrets.token_hex(2)}"

    def _remove_strays(self, sftp: SFTPClient, new: str) -> None:
        """What a cut link left once: secrets that nobody knows of."""
        directory, name = posixpath.split(new)
        prefix, now = name.rpartition("-")[0], sftp.stat(new).st_mtime or 0
        for other in sftp.listdir_attr(directory):
            if other.filename.startswith(f"{prefix}-") and (other.st_mtime or 0) < now - OLD:
                sftp.remove(posixpath.join(directory, other.filename))

    def _read(self, sftp: SFTPClient, path: str) -> str | None:
        try:
            if not stat.S_ISREG(sftp.stat(path).st_mode or 0):
                raise Refused(f"{path} is no file.", next=f"On the server: ls -ld {path}")
            with sftp.open(path, "rb") as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except PermissionError:
            raise Refused(
                f"{path} may not be read by who logs in.",
                next=f"On the server: sudo chown $(id -un) {path}",
            ) from None
        if len(data) > MAX_BYTES:
            raise Refused(f"{path} is larger than {MAX_BYTES} bytes.", next="Look at it there.")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Refused(f"{path} is no UTF-8 text.", next="Look at it there.") from None

    def _write(self, sftp: SFTPClient, path: str, text: str, *, like: str) -> None:
        data = text.encode()
        try:
            with sftp.open(path, "wbx") as file:
                # Private before there is anything in it.
                file.chmod(PRIVATE)
                file.write(data)
            self._own(sftp, path, like)
            written = sftp.stat(path).st_size
        except PermissionError:
            raise StepFailed(
                f"{posixpath.dirname(path)} may not be written by who logs in.",
                next=f"On the server: ls -ld {posixpath.dirname(path)}",
            ) from None
        except FileNotFoundError:
            raise Refused(
                f"There is no directory {posixpath.dirname(path)} on the server.",
                next=f"manage.py provision --server {self._connection.server.name}",
            ) from None
        synced = self._connection.run(["sync", "--", path], seconds=SECONDS)
        if written != len(data) or "space" in synced.errors:
            raise StepFailed(
                f"The server took {written} of {len(data)} bytes. {synced.errors}".strip(),
                next=f"On the server: df -h {posixpath.dirname(path)}",
            )

    def _own(self, sftp: SFTPClient, path: str, like: str) -> None:
        """For root: the file belongs to whom the old one, or its directory, belongs to."""
        try:
            model = sftp.stat(like)
        except FileNotFoundError:
            model = sftp.stat(posixpath.dirname(like))
        if sftp.stat(path).st_uid == 0 and model.st_uid and model.st_gid is not None:
            sftp.chown(path, model.st_uid, model.st_gid)

    @contextmanager
    def _sftp(self) -> Iterator[SFTPClient]:
        try:
            with self._connection.sftp() as sftp:
                if channel := sftp.get_channel():
                    channel.settimeout(SECONDS)
                yield sftp
        except OpsError:
            raise
        except (OSError, EOFError, SSHException) as error:
            if isinstance(error, OSError) and not self._is_cut(error):
                raise StepFailed(
                    f"The server did not take or give {self.path}: {error}.",
                    next=f"On the server: df -h {posixpath.dirname(self.path)}",
                ) from None
            raise LinkLost(
                f"The link was cut, or silent for {SECONDS:g} s, while {self.path} was carried "
                f"({error or type(error).__name__}).",
                next=f"{self._connection.server.command('env diff')}   # what the server has now",
                traffic="It has the old one or the new one, whole; traffic is as it was.",
            ) from None

    def _is_cut(self, error: OSError) -> bool:
        """Whether it is the link; else it is what the server said of the file."""
        if isinstance(error, TimeoutError | ConnectionError):
            return True
        # paramiko has no class for it, and says it a moment before the link counts as dead.
        return str(error) == "Socket is closed" or not self._connection.is_alive
