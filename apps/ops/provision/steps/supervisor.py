from __future__ import annotations

import re

from apps.ops.provision.steps.base import Found, Step

PATH = "/etc/supervisor/supervisord.conf"
PROGRAMS = ("docker", "stack")
START_SECONDS = 120.0
# Longer than what it restarts may take to stop.
INSTALL_SECONDS = 400.0
# It comes back before supervisor listens. What still does not listen is found by looking again.
_WAIT = "for i in $(seq 60); do supervisorctl pid >/dev/null 2>&1 && exit; sleep 0.5; done"


class Supervisor(Step):
    """Supervisor's programs: they keep Docker up where no systemd does, and the stack with it."""

    name = "supervisor"

    def look(self) -> Found:
        if not self._is_configured():
            where = f"{self.machine.directory}/docker/supervisor"
            return Found(False, f"Let supervisor run what {where} says.")
        if down := self._down():
            return Found(False, f"Start supervisor's programs: {', '.join(down)} does not run.")
        return Found(True, f"Supervisor runs {' and '.join(PROGRAMS)}.")

    def act(self) -> str:
        if self._is_configured() and self._answers():
            # Not by installing it anew: its restart would stop Docker, where supervisor runs that.
            for name in self._down():
                start = ["supervisorctl", "start", name]
                self.machine.root(start, seconds=START_SECONDS, check=False)
        else:
            install = [f"{self.machine.directory}/docker/supervisor/install"]
            self.machine.root(install, seconds=INSTALL_SECONDS)
            # Debian's service script, where no systemd is, stops on `restart` and does not start
            # again.
            self.machine.root(["service", "supervisor", "start"], check=False)
        self.machine.root(["sh", "-c", _WAIT], check=False)
        return f"Supervisor runs {' and '.join(PROGRAMS)}."

    def _answers(self) -> bool:
        self.machine.root(["service", "supervisor", "start"], check=False)
        self.machine.root(["sh", "-c", _WAIT], check=False)
        return self.machine.root(["supervisorctl", "pid"], check=False).code == 0

    def _is_configured(self) -> bool:
        config = f"{self.machine.directory}/docker/supervisor/supervisord.conf"
        return config in (self.machine.read(PATH) or "")

    def _down(self) -> list[str]:
        status = self.machine.root(["supervisorctl", "status"], check=False).output
        # One in BACKOFF is tried again by supervisor itself.
        up = set(re.findall(r"^(\w+) +(?:RUNNING|STARTING|BACKOFF)", status, re.MULTILINE))
        return [name for name in PROGRAMS if name not in up]
