"""`just compare`: other ways to change what runs beside ours, on one stack, under traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from tests.rig.load import Traffic, percentile, visitors
from tests.rig.stack import ScratchStack, project_of, run

BEFORE_SECONDS = 5.0
BETWEEN_SECONDS = 5.0
# What scripts wait for a container that they only started.
SLEEP_SECONDS = 5.0
STOP_SECONDS = 10
HEALTHY_SECONDS = 120.0
SERVICES = {"blue": "django-a", "green": "django-b"}
HEADING = (
    f"{'how':<46}{'rounds':>7}{'requests':>10}{'failed':>8}{'p99 ms':>8}{'slowest s':>10}"
    f"{'each s':>8}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """`seconds` is what one round took."""

    how: str
    rounds: int
    traffic: Traffic
    seconds: float

    def __str__(self) -> str:
        requests = self.traffic.requests
        quick = [r for r in requests if r.kind != "slow"]
        slowest = max((r.milliseconds for r in quick), default=0.0)
        return (
            f"{self.how:<46}{self.rounds:>7}{len(requests):>10,}{len(self.traffic.failed):>8,}"
            f"{percentile(quick, 0.99):>8.0f}{slowest / 1000:>10.1f}{self.seconds:>8.1f}"
        )


def compare(source: Path, root: Path, port: int, *, rounds: int, rate: float) -> int:
    """Exit code 0: ours lost nothing."""
    stack = ScratchStack(
        root,
        project=project_of("changeover-compare", root),
        port=port,
        settings={"OPS_BAKE_SECONDS": "2"},
    )
    stack.destroy()
    try:
        stack.create(source)
        stack.compose("build", "utility", seconds=1800)
        for _ in SERVICES:
            if (deployed := stack.deploy()).code:
                print(deployed.output, deployed.errors)
                return deployed.code
        print(f"{rate:g} requests a second, nothing to build\n\n{HEADING}", flush=True)
        rows = [
            _measured(stack, how, change, rounds=rounds, rate=rate)
            for how, change in (
                ("manage.py deploy", _ours),
                ("docker compose up -d, of what is live", _in_place),
                ("stop, create, start each colour, and sleep", _one_after_the_other),
                ("start a second one, then stop the first", _start_first),
            )
        ]
        return 1 if rows[0].traffic.failed else 0
    finally:
        stack.destroy()


def _measured(
    stack: ScratchStack,
    how: str,
    change: Callable[[ScratchStack], None],
    *,
    rounds: int,
    rate: float,
) -> Row:
    with visitors(stack.port, rate=rate) as traffic:
        sleep(BEFORE_SECONDS)
        took = 0.0
        for _ in range(rounds):
            begun = monotonic()
            change(stack)
            took += monotonic() - begun
            sleep(BETWEEN_SECONDS)
    row = Row(how, rounds, traffic, took / rounds)
    print(row, flush=True)
    for error, count in Counter(r.error for r in traffic.failed).most_common(3):
        print(f"    {count} times {error}", flush=True)
    return row


def _ours(stack: ScratchStack) -> None:
    result = stack.deploy()
    assert result.code in (0, 6), result.output


def _live(stack: ScratchStack) -> str:
    return SERVICES[stack.status()["live"]]


def _in_place(stack: ScratchStack) -> None:
    """What is typed most: Compose stops the old container and starts the new one."""
    up = ("up", "--detach", "--no-deps", "--no-build", "--force-recreate")
    stack.compose(*up, _live(stack))


def _one_after_the_other(stack: ScratchStack) -> None:
    """What scripts do that have two containers, and no proxy that is told of it."""
    for service in SERVICES.values():
        stack.compose("stop", service)
        stack.compose("up", "--no-start", "--no-deps", "--no-build", "--force-recreate", service)
        stack.compose("start", service)
        sleep(SLEEP_SECONDS)


def _start_first(stack: ScratchStack) -> None:
    """As docker-rollout does: both have the service's name for a while, and the old one is stopped
    when the new one is healthy."""
    service = _live(stack)
    old = stack.containers(service)
    up = ("up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--scale", f"{service}=2")
    stack.compose(*up, service)
    [new] = set(stack.containers(service)) - set(old)
    deadline = monotonic() + HEALTHY_SECONDS
    health = ["docker", "inspect", "--format", "{{.State.Health.Status}}", new]
    while run(health).output.strip() != "healthy":
        assert monotonic() < deadline
        sleep(0.5)
    run(["docker", "stop", "--time", str(STOP_SECONDS), *old])
    run(["docker", "rm", *old])
