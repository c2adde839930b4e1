from __future__ import annotations

from apps.ops.provision.steps import apt
from apps.ops.provision.steps.base import Found, Step

PACKAGE = "unattended-upgrades"
PATH = "/etc/apt/apt.conf.d/52changeover"
TEXT = """\
// Written by manage.py provision: security updates by themselves, and never a reboot.
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Automatic-Reboot "false";
// An update of these restarts every container: do it by hand, at a quiet time.
Unattended-Upgrade::Package-Blacklist { "docker"; "containerd"; "runc"; };
"""


class Updates(Step):
    """Security updates by themselves, every day, but for what would stop the site."""

    name = "updates"

    def look(self) -> Found:
        if apt.installed(self.machine, [PACKAGE]) and self.machine.read(PATH) == TEXT:
            return Found(True, "Security updates install themselves; Docker's are left to you.")
        return Found(False, f"Let security updates install themselves, but for Docker's: {PATH}.")

    def act(self) -> str:
        if not apt.installed(self.machine, [PACKAGE]):
            apt.install(self.machine, [PACKAGE])
        if self.machine.read(PATH) == TEXT:
            return f"Installed {PACKAGE}."
        wrote = self.machine.write(PATH, TEXT, mode="644")
        return f"{wrote[0].upper()}{wrote[1:]}."
