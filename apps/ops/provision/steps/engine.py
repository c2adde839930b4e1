from __future__ import annotations

import posixpath
import re

from apps.ops.errors import Refused
from apps.ops.provision.steps.base import Found, Step

SECONDS = 1500.0
# The justfile's groups take it.
JUST = (1, 27)
# Asked with no engine in reach: one that hangs would hang this too.
_COMPOSE = ["env", "DOCKER_HOST=unix:///nowhere", "docker", "compose", "version", "--short"]
SENT = ("bootstrap", "requirements/bootstrap.txt")


class Engine(Step):
    """Docker Engine, Compose and just: what the project's own `bootstrap` installs and starts."""

    name = "docker"

    def look(self) -> Found:
        version = ["timeout", "20", "docker", "version", "--format", "{{.Server.Version}}"]
        engine = self.machine.root(version, check=False)
        compose = self.machine.root(_COMPOSE, check=False)
        just = self.machine.root(["just", "--version"], check=False)
        just_will_do = just.code == 0 and _version(just.output) >= JUST
        wanted = [
            what
            for what, there in (
                ("Docker Engine, running", engine.code == 0),
                ("Compose", compose.code == 0),
                (f"just {JUST[0]}.{JUST[1]} or newer", just_will_do),
            )
            if not there
        ]
        if wanted:
            return Found(
                False, f"Install and start with ./bootstrap --prepare: {', '.join(wanted)}."
            )
        return Found(
            True,
            f"Docker {engine.output.strip()} answers; Compose {compose.output.strip()}, "
            f"{just.output.strip()}.",
        )

    def act(self) -> str:
        directory = self.machine.root(["mktemp", "-d"]).output.strip()
        try:
            for name in SENT:
                self._send(name, f"{directory}/{name}")
            self.machine.root(
                ["sh", f"{directory}/bootstrap", "--prepare"],
                seconds=SECONDS,
                say=lambda line: self.machine.say(f"  {line}"),
            )
        finally:
            self.machine.root(["rm", "-rf", "--", directory], check=False)
        return "Docker, Compose and just are there."

    def _send(self, name: str, path: str) -> None:
        try:
            text = (self.wish.project / name).read_text()
        except OSError as error:
            raise Refused(
                f"This machine's checkout has no {name}, which installs Docker ({error.strerror}).",
                next=f"git checkout -- {name}",
            ) from None
        self.machine.root(["install", "-d", posixpath.dirname(path)])
        self.machine.write(path, text, mode="644")


def _version(text: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
