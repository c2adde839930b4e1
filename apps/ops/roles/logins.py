"""Which role a process signs in to Postgres as. Read by the settings, so nothing of Django in here.

Each role's password lies in a file on a volume of its own, which only the services that are to use
it mount: in no environment, so `docker inspect` does not show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OWNER, WEB, OPS = "owner", "web", "ops"
KINDS = (OWNER, WEB, OPS)
# What a process is (ROLE, from the compose file or the deployment) tells which one it gets: all
# others are the site's.
KIND_OF: Mapping[str, str] = {"migrate": OWNER, "utility": OPS}
FILE = "POSTGRES_PASSWORD"


@dataclass(frozen=True, slots=True)
class Logins:
    """The logins that a process can see.

    Args:
        user, password: POSTGRES_USER and POSTGRES_PASSWORD: the superuser that Postgres was made
            with. Its name is how the roles' names begin.
        directory: has a directory for each role whose volume is mounted here.
    """

    user: str
    password: str
    directory: Path

    def name(self, kind: str) -> str:
        return f"{self.user}_{kind}"

    def file(self, kind: str) -> Path:
        return self.directory / kind / FILE

    def of(self, kind: str) -> dict[str, str] | None:
        """USER and PASSWORD, as DATABASES has them; None without a password file."""
        try:
            return {"USER": self.name(kind), "PASSWORD": self.file(kind).read_text().strip()}
        except OSError:
            return None

    def for_process(self, role: str) -> dict[str, str]:
        """The role that a process of this ROLE signs in as.

        Where there is none yet (development; a server's first deployment with this release) it is
        the one that Postgres was made with.
        """
        return self.of(KIND_OF.get(role, WEB)) or {"USER": self.user, "PASSWORD": self.password}

    @property
    def are_kept_here(self) -> bool:
        """Whether the volumes of all roles are mounted: only in the utility service."""
        return all((self.directory / kind).is_dir() for kind in KINDS)
