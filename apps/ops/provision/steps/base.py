from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from apps.ops.provision.machine import Machine


@dataclass(frozen=True, slots=True)
class Found:
    """Whether a step's work is there already.

    Attributes:
        summary: what is there; or what the step will do.
    """

    there: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the server is to become, as this machine knows it.

    Attributes:
        project: this machine's checkout.
        repository: the remote's address, as the server is to reach it.
        known_hosts: the files in which this machine keeps host keys.
        site_host: the site's name, for the `.env`.
        requested_by: who sits here, for the history there.
        own_keys: the public keys of who sits here, each with what to call it.
    """

    project: Path
    repository: str
    branch: str
    known_hosts: tuple[Path, ...]
    site_host: str
    requested_by: str
    own_keys: Mapping[str, str]


class Step(ABC):
    """One part of a server. `look` reads and changes nothing; `act` does what it found missing.

    Both raise OpsError: Refused for a surprise that a person has to settle.
    """

    name: ClassVar[str]

    def __init__(self, machine: Machine, wish: Wish) -> None:
        self.machine = machine
        self.wish = wish

    @abstractmethod
    def look(self) -> Found: ...

    @abstractmethod
    def act(self) -> str:
        """Do it. Returns what was done, a sentence."""
