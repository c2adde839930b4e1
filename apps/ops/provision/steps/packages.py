from __future__ import annotations

from apps.ops.provision.steps import apt
from apps.ops.provision.steps.base import Found, Step

NEEDED = ("ca-certificates", "git", "openssh-client", "supervisor")


class Packages(Step):
    """Debian's packages that no other step brings."""

    name = "packages"

    def look(self) -> Found:
        missing = self._missing()
        if not missing:
            return Found(True, f"{', '.join(self._wanted())} are installed.")
        return Found(False, f"Install with apt-get: {', '.join(missing)}.")

    def act(self) -> str:
        missing = self._missing()
        apt.install(self.machine, missing)
        return f"Installed {', '.join(missing)}."

    def _wanted(self) -> tuple[str, ...]:
        # What systemd's timers do, cron does where there are none: the security updates.
        return NEEDED if self.machine.has_systemd else (*NEEDED, "cron")

    def _missing(self) -> list[str]:
        wanted = self._wanted()
        there = apt.installed(self.machine, wanted)
        return [name for name in wanted if name not in there]
