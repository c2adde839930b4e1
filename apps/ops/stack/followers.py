"""Services that follow a release without a break: the new one is started beside the old one, which
is then asked to end and ends when its jobs have."""

from __future__ import annotations

from dataclasses import dataclass

from apps.ops.processes import Say
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from apps.ops.stack.service import Service


@dataclass(frozen=True, slots=True)
class Followers:
    """A service's running containers, and those of them that have another image than wanted."""

    name: str
    running: list[Service]
    old: list[Service]

    def renew(self, engine: Engine, compose: Compose, *, say: Say) -> None:
        """Start one of the wanted image if none runs, and ask the old ones to end. Can be killed
        anywhere and begun again.

        Raises:
            ProgramFailed: it could not be started; those that run stay.
        """
        if len(self.old) == len(self.running):
            compose.scale(self.name, count=len(self.running) + 1, say=say)
        for service in self.old:
            engine.signal(service.container, "SIGTERM")


def followers(engine: Engine, name: str, *, image: str | None) -> Followers:
    """As they are now; those that have ended are removed.

    Args:
        image: the id of the wanted one.
    """
    found = engine.services(name)
    running = [service for service in found if service.running]
    for service in found:
        if not service.running:
            engine.remove_container(service.container)
    return Followers(name, running, [service for service in running if service.image != image])
