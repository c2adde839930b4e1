from __future__ import annotations

import getpass
from dataclasses import dataclass

from apps.ops.conf import OpsSettings

# Of a name that the site's page wrote down: whoever breaks into the site can write any.
OF_THE_SITE = ", through the site"
_MAX_NAME = 150


def through_the_site(name: str) -> str:
    """Who asked, as the site says: never the same as somebody who asked in a shell."""
    name = printable(name.removesuffix(OF_THE_SITE))
    name = name[: _MAX_NAME - len(OF_THE_SITE)].strip()
    return (name or "somebody") + OF_THE_SITE


def printable(text: str) -> str:
    """On one line, and without what a terminal or a log would take for a command."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def is_of_the_site(who: str) -> bool:
    return who.endswith(OF_THE_SITE)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, and from where, as the shell on the server knows them."""

    by: str
    origin: str

    @classmethod
    def now(cls, settings: OpsSettings) -> Requester:
        by = settings.requested_by
        if not by:
            try:
                by = getpass.getuser()
            except (KeyError, OSError):
                by = "unknown"
        # SSH_CONNECTION is "client-address client-port server-address server-port".
        address = settings.requested_from.split(" ")[0]
        return cls(by, address or "the server")

    def as_fields(self) -> dict[str, str]:
        return {"requested_by": self.by, "requested_from": self.origin}
