"""One deployment at a time: an flock, which the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

from apps.ops.errors import Busy, OpsError

FILE = "deploy.lock"


@contextmanager
def deploy_lock(state_dir: Path, *, holder: str) -> Iterator[None]:
    """Hold the lock for as long as this lasts.

    Raises:
        Busy: somebody else holds it; names them.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OpsError(
            f"The state directory cannot be written: {error}.",
            next="docker compose run --rm utility python manage.py deploy   # it runs in utility",
        ) from error
    try:
        if not _acquire(descriptor):
            raise Busy(
                f"Another deployment is running: {_read(descriptor) or 'it did not say whose'}.",
                next="manage.py status   # shows it; deploy again when it has ended",
            )
        _write(descriptor, f"{holder}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
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
    """Who deploys at this moment; None when nobody does."""
    try:
        descriptor = os.open(state_dir / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor) or "unknown"
    finally:
        os.close(descriptor)
    return None


def _write(descriptor: int, who: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"holder": who}).encode(), 0)


def _read(descriptor: int) -> str:
    try:
        return str(json.loads(os.pread(descriptor, 4096, 0))["holder"])
    except (ValueError, KeyError, TypeError):
        return ""
