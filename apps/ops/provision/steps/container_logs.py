from __future__ import annotations

import json
from typing import Any

from apps.ops.errors import Refused
from apps.ops.provision.steps.base import Found, Step

PATH = "/etc/docker/daemon.json"
LIMITS = {"max-size": "10m", "max-file": "5"}


class ContainerLogs(Step):
    """Docker's own limit for containers' logs: before Docker comes, so that it need not restart."""

    name = "log limits"

    def look(self) -> Found:
        said = self._read()
        driver = said.get("log-driver", "json-file")
        if driver not in ("json-file", "local"):
            return Found(True, f"Containers' logs go to {driver}, as {PATH} says.")
        options = said.get("log-opts")
        if driver == "local" or (isinstance(options, dict) and "max-size" in options):
            return Found(True, f"Containers' logs are limited in {PATH}.")
        return Found(False, f"Limit containers' logs to 5 files of 10 MB each, in {PATH}.")

    def act(self) -> str:
        said = self._read()
        options = said.get("log-opts") or {}
        said |= {"log-driver": "json-file", "log-opts": {**LIMITS, **options}}
        self.machine.root(["install", "-d", "-m", "755", "/etc/docker"])
        text = json.dumps(said, indent=2) + "\n"
        wrote = self.machine.write(PATH, text, mode="644")
        runs = self.machine.root(["test", "-e", "/var/run/docker.pid"], check=False).code == 0
        # A restart would stop every container. Those of the stack have limits of their own.
        later = " Docker reads it when it is started the next time." if runs else ""
        return f"{wrote[0].upper()}{wrote[1:]}.{later}"

    def _read(self) -> dict[str, Any]:
        text = self.machine.read(PATH)
        if text is None or not text.strip():
            return {}
        try:
            said = json.loads(text)
        except ValueError as error:
            raise self._surprise(f"is no JSON ({error})") from None
        if not isinstance(said, dict) or not isinstance(said.get("log-opts") or {}, dict):
            raise self._surprise("is not what Docker reads")
        return said

    def _surprise(self, what: str) -> Refused:
        return Refused(
            f"{PATH} {what}, so nothing is added to it.",
            next=f"Fix it on the server: sudoedit {PATH}; then the same command again.",
        )
