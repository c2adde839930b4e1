"""Containers that are started once, in a service's place, and looked at again: by another process,
after a crash, by somebody who did not start them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from docker.errors import APIError, NotFound
from docker.models.containers import Container

from apps.ops.stack.engine import Engine


@dataclass(frozen=True, slots=True)
class OneOff:
    """`status` is Docker's: created, running, exited, …"""

    name: str
    status: str
    exit_code: int
    labels: Mapping[str, str]

    @property
    def ended(self) -> bool:
        return self.status in ("exited", "dead")


class OneOffs(Engine):
    """By their names: Docker lets a name exist once, so what has one is never started twice.

    Raises (every method):
        EngineAway: the daemon does not answer, or not in time.
    """

    def find(self, name: str) -> OneOff | None:
        container = self._by_name(name)
        return None if container is None else _describe(container)

    def labelled(self, label: str) -> list[OneOff]:
        """This project's containers that have a label, running or not."""
        labels = [label, f"com.docker.compose.project={self.project}"]
        with self._talking() as client:
            found = client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return [_describe(container) for container in found]

    def start(self, name: str) -> None:
        """Start one that was created only: whoever made it was killed in between."""
        if container := self._by_name(name):
            with self._talking():
                container.start()

    def output(self, name: str, *, lines: int) -> str:
        """Its last lines."""
        container = self._by_name(name)
        if container is None:
            return ""
        with self._talking():
            return container.logs(tail=lines).decode(errors="replace")

    def remove_ended(self, name: str) -> None:
        """Remove one that has ended; one that runs stays."""
        container = self._by_name(name)
        if container is None:
            return
        with self._talking():
            try:
                container.remove()
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409:  # It runs, or somebody else is removing it.
                    raise

    def _by_name(self, name: str) -> Container | None:
        with self._talking() as client:
            try:
                return client.containers.get(name)
            except NotFound:
                return None


def _describe(container: Container) -> OneOff:
    state = container.attrs["State"]
    return OneOff(str(container.name), state["Status"], state["ExitCode"], container.labels)
