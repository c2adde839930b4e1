"""Files with secrets on this machine: ours alone to read, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from apps.ops.errors import Refused, StepFailed


def read(path: Path) -> str:
    """Raises:
    FileNotFoundError: it is not there.
    Refused: it cannot be read, or is no text.
    """
    try:
        # As it is: line endings are not ours to change.
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise Refused(
            f"{path} cannot be read: {reason}.", next="Fix that, or name another with --file."
        ) from None


def write_private(path: Path, text: str) -> Path | None:
    """Write with mode 0600, all or nothing; what was there is kept as a dated copy.

    Returns:
        The copy, where there was something.
    """
    copy = None
    try:
        if path.exists():
            copy = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%d-%H%M%S}")
            write_private(copy, read(path))
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.new-")
        new = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text.encode())
                owner = path.parent.stat()
                if os.geteuid() == 0 and owner.st_uid:
                    # In a container we are root, and the directory is its user's.
                    os.chown(number, owner.st_uid, owner.st_gid)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StepFailed(
            f"{path} cannot be written: {error.strerror}.", next="Name another with --file."
        ) from None
    return copy
