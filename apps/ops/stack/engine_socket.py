"""Docker's socket itself: whether anybody answers, asked without waiting long."""

from __future__ import annotations

import os
import socket
from pathlib import Path

ANSWER_SECONDS = 2.0
PING = b"GET /_ping HTTP/1.0\r\n\r\n"


def path() -> Path | None:
    """Where it is; None where Docker is asked in another way."""
    kind, _, name = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    return Path(name) if kind == "unix" else None


def is_silent(path: Path | None) -> bool:
    """Whether it is there and nobody answers: the engine has ended, or is about to.

    It ends its API first, and stops the containers then. A socket that systemd keeps for it still
    lets everybody in.
    """
    if path is None:
        return False
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(str(path))
            asking.sendall(PING)
            return not asking.recv(1)
    except (ConnectionError, TimeoutError):
        return True
    except OSError:
        return False
