from __future__ import annotations

import re

from apps.ops.provision.steps.base import Found, Step

PATH = "/etc/supervisor/supervisord.conf"
PROGRAMS = ("docker", "stack")
# It comes back before supervisor listens. What still does not listen is found by looking again.
_WAIT = "for i in $(seq 60); do supervisorctl pid >/dev/null 2>&1 && exit; sleep 0.5; done"


class Supervisor(Step):
    """Supervisor's programs: they keep Docker up where no systemd does, and the stack at boot."""

    name = "supervisor"

    def look(self) -> Found:
        directory = self.machine.directory
        config = f"{directory}/docker/supervisor/supervisord.conf"
        if config not in (self.machine.read(PATH) or ""):
            return Found(False, f"Let supervisor run what {directory}/docker/supervisor says.")
        status = self.machine.root(["supervisorctl", "status"], check=False).output
        up = set(re.findall(r"^(\w+) +(?:RUNNING|STARTING)", status, re.MULTILINE))
        if down := [name for name in PROGRAMS if name not in up]:
            return Found(False, f"Start supervisor's programs: {', '.join(down)} does not run.")
        return Found(True, f"Supervisor runs {' and '.join(PROGRAMS)}.")

    def act(self) -> str:
        self.machine.root([f"{self.machine.directory}/docker/supervisor/install"], seconds=120)
        # Debian's service script, where no systemd is, stops on `restart` and does not start again.
        self.machine.root(["service", "supervisor", "start"], check=False)
        self.machine.root(["sh", "-c", _WAIT], check=False)
        return f"Supervisor runs {' and '.join(PROGRAMS)}."
