"""What a process that holds Docker's socket must not do: run what somebody else could have written.

Whoever has the socket is root on the host, and the web can write all of Postgres, Redis and the
uploads. A pickle that is read runs what it says; so none is read in there, by whatever library.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from apps.ops.errors import OpsError

logger = logging.getLogger(__name__)

SOCKET = Path("/var/run/docker.sock")
_EVENT = "pickle.find_class"


class Unpickling(OpsError):
    """Something wanted to read a pickle that names code."""

    def __init__(self) -> None:
        super().__init__(
            "A pickle was about to be read beside Docker's socket, and was not.",
            next="run what reads it without the socket: docs/security.md",
        )


def is_here() -> bool:
    """Whether this process is the utility service's, and Docker's socket is in reach."""
    if os.environ.get("ROLE") != "utility":
        return False
    return bool(os.environ.get("DOCKER_HOST")) or SOCKET.exists()


def refuse_pickles() -> None:
    """For good, for this process: Python has no way to take an audit hook back."""
    sys.addaudithook(_look)


def _look(event: str, arguments: object) -> None:
    if event == _EVENT:
        logger.critical("a pickle that names %s was not read", ascii(arguments))
        raise Unpickling


class NoPickles:
    """For the site's cache beside the socket: it is emptied and counted from there, and nothing
    in it is read. Numbers, which Django does not pickle, are."""

    def dumps(self, value: object) -> int:
        if type(value) is int:
            return value
        raise Unpickling

    def loads(self, value: bytes) -> int:
        try:
            return int(value)
        except ValueError:
            raise Unpickling from None
