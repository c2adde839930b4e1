"""An editor on this machine's terminal."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from apps.ops.errors import Cancelled, Refused


def open_in(editor: list[str], path: Path) -> None:
    """Wait until the editor has ended.

    Raises:
        Refused: it cannot be started.
        Cancelled: it ended with another exit code than 0.
    """
    # Ctrl-C is the editor's own, as every other key.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        code = subprocess.call([*editor, str(path)])
    except OSError as error:
        raise Refused(
            f"The editor {editor[0]} cannot be started: {error.strerror}.",
            next="export EDITOR=nano, or whichever you have; then again",
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise Cancelled(
            f"The editor ended with exit code {code}: nothing was sent.",
            next="Again, when you like.",
        )
