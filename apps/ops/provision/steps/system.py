from __future__ import annotations

from apps.ops.dotenv import parse
from apps.ops.errors import Refused
from apps.ops.provision.steps.base import Found, Step

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}


class System(Step):
    """A system that this was made for, and the way to root."""

    name = "system"

    def look(self) -> Found:
        told = parse(self.machine.run(["cat", "/etc/os-release"], check=False).output).values
        name, version = told.get("ID", ""), told.get("VERSION_ID", "")
        title = told.get("PRETTY_NAME") or "a system without /etc/os-release"
        if version not in SUPPORTED.get(name, ()):
            raise Refused(
                f"{self.machine.server.host} runs {title}. This knows Debian 12 and 13, and "
                "Ubuntu 22.04 and 24.04.",
                next="Set it up by hand: docs/server.md",
            )
        self.machine.require_root()
        keeper = "systemd" if self.machine.has_systemd else "no systemd"
        return Found(True, f"{title}, {keeper}; root through {self._way()}.")

    def act(self) -> str:
        return "Nothing."

    def _way(self) -> str:
        return "the login" if self.machine.login == "root" else f"sudo as {self.machine.login}"
