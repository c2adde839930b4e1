"""Whoever looks at a deployment's container on the server itself, where no link is cut."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import docker
from apps.ops.presenters.lines import Lines
from apps.ops.presenters.replay import replay
from apps.ops.remote.commands import LABEL

LOOK_SECONDS = 0.1
CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


class Witness:
    """Waits for a new container of `remote`'s, and keeps all that it writes."""

    def __init__(self, site: Path) -> None:
        self._site = site
        self._engine = docker.APIClient()
        self._old = set(self._containers())
        self._enough = Event()
        self.name = ""
        self.out = b""
        self.err = b""
        # By monotonic(); 0: it did not.
        self.ended = 0.0
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def is_there(self) -> bool:
        return self.name in self._containers()

    def wait_for_name(self, seconds: float) -> bool:
        for _ in range(round(seconds / LOOK_SECONDS)):
            if self.name:
                return True
            sleep(LOOK_SECONDS)
        return False

    def finish(self, seconds: float) -> None:
        """Wait for the container's end; where there is none by now, look no more."""
        self._enough.set()
        self._thread.join(seconds)

    def remove(self) -> bool:
        """Remove what nobody saw the end of; whether there was something."""
        if not self.is_there:
            return False
        self._engine.remove_container(self.name, force=True)
        return True

    def _look(self) -> None:
        while not self._enough.is_set():
            found = self._containers()
            # One that was only created has no log to follow.
            for name in found.keys() - self._old:
                if found[name] != "created":
                    self._follow(name)
                    return
            sleep(LOOK_SECONDS)

    def _follow(self, name: str) -> None:
        self.name = name
        argv = ["docker", "logs", "--follow", name]
        done = subprocess.run(argv, capture_output=True, check=False)
        self.out, self.err = done.stdout, done.stderr
        self.ended = monotonic()

    def _containers(self) -> dict[str, str]:
        """Their names, with their states."""
        found = self._engine.containers(all=True, filters={"label": f"{LABEL}={self._site}"})
        return {one["Names"][0].lstrip("/"): one["State"] for one in found}


def shown_as(log: bytes, *, as_json: bool) -> list[str]:
    """What a deployment's log is at the other end: as it is, or the plain lines without times."""
    lines = log.decode().splitlines()
    if as_json:
        return lines
    shown = io.StringIO()
    presenter = Lines(shown)
    for line in lines:
        if not replay(line, presenter):
            shown.write(f"{line}\n")
    return without_clocks(shown.getvalue().splitlines())


def without_clocks(lines: Sequence[str]) -> list[str]:
    return [CLOCK.sub("", line) for line in lines]


def difference(said: Sequence[str], shown: Sequence[str]) -> str:
    """The first line that is lost, doubled or out of order; empty: all is there."""
    for number, line in enumerate(said):
        if number >= len(shown):
            return f"{len(said) - number} of {len(said)} lines are lost, from {line[:100]!r} on"
        if shown[number] != line:
            return f"line {number} is {shown[number][:100]!r}, not {line[:100]!r}"
    if len(shown) > len(said):
        return f"{len(shown) - len(said)} lines are too many, from {shown[len(said)][:100]!r} on"
    return ""
