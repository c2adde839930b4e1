from __future__ import annotations

import getpass
from dataclasses import dataclass

from apps.ops.conf import OpsSettings


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
