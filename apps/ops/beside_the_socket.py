"""What a process that holds Docker's socket must not do: run what somebody else could have written.

Whoever has the socket is root on the host, and the web can write all of Postgres, Redis and the
uploads. A pickle that is read runs what it says; so none is read in there, by whatever library.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from apps.ops.errors import OpsError, Refused

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
    return _in_utility() and (bool(os.environ.get("DOCKER_HOST")) or SOCKET.exists())


def require_not_development(dotenv: Path) -> None:
    """Where `.env` is gone from a server, Compose takes `compose.yml` without a word: the utility
    service of development, with a database of its own, which tells nothing of what is served.

    Raises:
        Refused: this is that service.
    """
    if not _in_utility() or is_here():
        return
    there = dotenv.exists()
    found = "COMPOSE_FILE in .env names no production" if there else "There is no .env here"
    raise Refused(
        f"{found}, so this is the development stack of compose.yml: it cannot see what is served.",
        traffic="Nothing was done. What production serves, if this is a server, goes on.",
        next="on a server: put .env back, with COMPOSE_FILE=compose.prod.yml in it "
        "(docs/when-things-go-wrong.md)",
    )


def _in_utility() -> bool:
    return os.environ.get("ROLE") == "utility"


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
