"""One deployment at a time: an flock, which the kernel frees when its holder dies.

The flock is the lock. What stands in the file says who holds it and is for eyes only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

from apps.ops.errors import Busy, OpsError

FILE = "deploy.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Who holds the lock. Of a record that cannot be read nothing is known but that it is held.

    `uid` is the deployment's, `container` the host name of the container it runs in (by default
    the start of the container's id), `pid` its process in there; `what` is a noun.
    """

    holder: str = ""
    uid: str = ""
    container: str = ""
    pid: int = 0
    what: str = ""


@contextmanager
def deploy_lock(
    state_dir: Path, *, holder: str, uid: str = "", what: str = "deployment"
) -> Iterator[None]:
    """Hold the lock for as long as this lasts.

    Raises:
        Busy: somebody else holds it; names them.
        OpsError: the state directory cannot be written.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OpsError(
            f"The state directory cannot be written: {error}.",
            next="df -h   # a disk is full"
            if full
            else "docker compose run --rm utility python manage.py deploy   # it runs in utility",
        ) from error
    try:
        if not _acquire(descriptor):
            found = _read(descriptor)
            raise Busy(
                f"Another {found.what or 'deployment'} is running: "
                f"{found.holder or 'it did not say whose'}.",
                next="manage.py status   # shows it; try again when it has ended",
            )
        holding = Holding(
            holder=f"{holder}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            uid=uid,
            container=socket.gethostname(),
            pid=os.getpid(),
            what=what,
        )
        _write(descriptor, holding)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> bool:
    # `holder` takes the lock for an instant when it looks: that is no deployment.
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            sleep(0.05)
    return False


def holder(state_dir: Path) -> str | None:
    """Who deploys at this moment, in words; None when nobody does."""
    holding = held_by(state_dir)
    return None if holding is None else holding.holder or "unknown"


def held_by(state_dir: Path) -> Holding | None:
    """Who holds the lock at this moment; None when nobody does."""
    try:
        descriptor = os.open(state_dir / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _write(descriptor: int, holding: Holding) -> None:
    line = json.dumps(asdict(holding)).encode() + b"\n"
    try:
        # Over what is there, and cut off then: on a full disk there is only that room.
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    except OSError:
        # Better nobody's name than the last one's.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)


def _read(descriptor: int) -> Holding:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0).partition(b"\n")[0])
        return Holding(
            holder=str(record["holder"]),
            uid=str(record["uid"]),
            container=str(record["container"]),
            pid=int(record["pid"]),
            what=str(record["what"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Holding()
