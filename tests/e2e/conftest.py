"""A production stack for the end-to-end tests of each process: the real engine, the real compose
file, real requests through real Caddy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.rig.load import Traffic, visitors
from tests.rig.stack import Result, ScratchStack, free_port, project_of

# What a swap loses it loses at any rate: `just bench` has 200. Here stacks share two cores.
RATE = 10.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            # A deadline that means "hung": the first of them builds images.
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def stack(worker_id: str) -> Iterator[ScratchStack]:
    """Deployed once, on an empty database, with the command that every later deployment uses."""
    source = os.environ.get("SOURCE")
    if not source:
        pytest.fail("These tests drive the Docker engine of the host: run them as `just test`.")
    root = Path(source, ".cache", "e2e", worker_id)
    stack = ScratchStack(
        root,
        project=project_of("changeover-e2e", root),
        port=free_port(),
        settings={
            "OPS_SETTLE_SECONDS": "0.5",
            # Each look is a process, and nobody waits for the next one.
            "HEALTH_INTERVAL_SECONDS": "15",
            # Its jobs are tried elsewhere; each boots Django once a minute in each stack.
            "OPS_CRONTAB": "/dev/null",
            # What a kill left is looked at before the agent takes it up.
            "OPS_RECOVER_AFTER_SECONDS": "86400",
            "OPS_BAKE_SECONDS": "1",
        },
    )
    stack.destroy()
    try:
        stack.create(Path(source))
        # One builds, and those beside it find its layers.
        with alone(root.with_name("build.lock")):
            stack.compose("build", "utility", seconds=1800)
        stack.first = stack.deploy()
        yield stack
    finally:
        stack.destroy()


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Scene:
    """A deployment under traffic, and how things were before it."""

    stack: ScratchStack
    before: dict[str, Any]
    traffic: Traffic
    now: dict[str, Any] = field(default_factory=dict)

    def look(self) -> dict[str, Any]:
        """How things are now, which `history` then reads from."""
        self.now = self.stack.status()
        return self.now

    def history(self, result: Result) -> dict[str, Any]:
        """The row that the history has of a deployment."""
        number = result.event("ended")["deployment"]
        rows = (self.now or self.look())["deployments"]
        return next(row for row in rows if row["id"] == number)


@pytest.fixture
def scene(stack: ScratchStack) -> Iterator[Scene]:
    """Visitors come for as long as the test lasts; whatever happens, none may notice."""
    before = stack.status()
    assert before["problems"] == [], before["problems"]
    with visitors(stack.port, rate=RATE, slow_rate=0.5) as traffic:
        yield Scene(stack, before, traffic)
    assert len(traffic.requests) > 10
    assert not traffic.failed, traffic.failed[:5]
