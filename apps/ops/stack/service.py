"""What Docker says of a service's container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docker.models.containers import Container

RELEASE_LABEL = "changeover.release"
# Beside the two colours.
OTHER_SERVICES = ("django-q", "jobs", "utility", "postgres", "redis", "caddy", "media")


@dataclass(frozen=True, slots=True)
class Service:
    """A service's container as Docker has it at this moment.

    `status` is Docker's (running, exited, …), `health` its health check's, "" without one;
    `started_at` is an ISO 8601 time; `oom_killed`: since then, the kernel ended a process in it for
    lack of memory; `memory_limit` is in bytes, 0 without one.
    """

    name: str
    container: str
    status: str
    health: str
    release: str
    image: str
    started_at: str
    restarts: int
    exit_code: int
    address: str
    oom_killed: bool = False
    memory_limit: int = 0

    @property
    def running(self) -> bool:
        return self.status == "running"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a container was created with; `given` is what of it its image does not have so."""

    values: Mapping[str, str] = field(repr=False)
    given: Mapping[str, str] = field(repr=False)


def variables(pairs: Sequence[str] | None) -> dict[str, str]:
    # A name alone takes a variable out.
    split = (pair.partition("=") for pair in pairs or ())
    return {name: value for name, is_set, value in split if is_set}


def describe(name: str, container: Container) -> Service:
    attributes: dict[str, Any] = container.attrs
    state = attributes["State"]
    networks = attributes["NetworkSettings"]["Networks"]
    return Service(
        name=name,
        container=str(container.id),
        status=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        release=attributes["Config"]["Labels"].get(RELEASE_LABEL, ""),
        image=attributes["Image"],
        started_at=state["StartedAt"],
        restarts=attributes["RestartCount"],
        exit_code=state["ExitCode"],
        address=next((n["IPAddress"] for n in networks.values() if n["IPAddress"]), ""),
        oom_killed=bool(state.get("OOMKilled")),
        memory_limit=attributes["HostConfig"].get("Memory") or 0,
    )
