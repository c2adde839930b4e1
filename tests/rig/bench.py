"""`just bench`: many swaps under traffic, measured from the visitors' side."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from time import monotonic, sleep, time

from apps.ops.edge.probe import ask
from apps.ops.stack.engine import Engine
from tests.rig.load import percentile, visitors
from tests.rig.report import Ledger, Swap, describe, seconds_back
from tests.rig.stack import Result, ScratchStack, project_of, run

ROLLBACKS = 5
WARM_UP_SECONDS = 5.0
STEADY_SECONDS = 15.0
BETWEEN_SECONDS = 2.0
START_SECONDS = 60.0
# Beyond this requests wait for each other, and what a deployment adds is not seen.
OVERLOADED_MILLISECONDS = 500.0


def bench(source: Path, root: Path, port: int, *, swaps: int, rate: float, settle: float) -> int:
    stack = ScratchStack(
        root,
        project=project_of("changeover-bench", root),
        port=port,
        settings={
            "OPS_SETTLE_SECONDS": f"{settle:g}",
            "OPS_SMOKE_PATHS": "/,/about/",
            "OPS_BAKE_SECONDS": "2",
        },
    )
    stack.destroy()
    try:
        stack.create(source)
        return _measure(stack, swaps=swaps, rate=rate, settle=settle)
    finally:
        stack.destroy()


def _measure(stack: ScratchStack, *, swaps: int, rate: float, settle: float) -> int:
    stack.compose("build", "utility", seconds=1800)
    first = run(["git", "rev-parse", "HEAD"], cwd=stack.site).output.strip()
    second = stack.commit("Another release", lambda project: None)
    for release in (first, second):
        print(f"building and deploying {release[:12]}", flush=True)
        result = stack.deploy(release)
        if result.code:
            print(result.output)
            return result.code
    bare = [_bare_start(stack) for _ in range(5)]

    with visitors(stack.port, rate=rate) as calm:
        sleep(WARM_UP_SECONDS)
        begun = time()
        sleep(STEADY_SECONDS)
    steady = calm.during(begun, begun + STEADY_SECONDS)
    if calm.failed or percentile(steady, 0.5) > OVERLOADED_MILLISECONDS:
        print(
            f"This machine cannot carry {rate:g} requests a second: without a deployment half of "
            f"them took longer than {percentile(steady, 0.5):.0f} ms, and {len(calm.failed)} "
            "failed. Next: just bench --rate with a lower one"
        )
        return 1

    print(f"{swaps} swaps at {rate:g} requests a second", flush=True)
    results = []
    with visitors(stack.port, rate=rate) as traffic:
        sleep(WARM_UP_SECONDS)
        for number in range(swaps):
            result = stack.deploy((first, second)[number % 2])
            took = max(
                (e["seconds"], e["step"])
                for e in result.events
                if e["event"].startswith("step_s") and "seconds" in e
            )
            print(f"  swap {number + 1}: exit code {result.code}; longest step: {took}", flush=True)
            results.append(result)
            sleep(BETWEEN_SECONDS)
        rollbacks = []
        for number in range(ROLLBACKS):
            # By name: one that somebody went back from is not stable any more.
            live = stack.status()["front_door"]["release"]
            result = stack.rollback(first if live == second else second)
            print(f"  rollback {number + 1}: exit code {result.code}", flush=True)
            rollbacks.append(result)
            sleep(BETWEEN_SECONDS)
    done = [Swap.of(r, traffic, settle=settle) for r in results if r.code in (0, 6)]
    ledger = Ledger.of(stack, traffic)
    window = [request for swap in done for request in swap.window]

    print()
    print(describe(traffic, ledger, steady, done))
    print(f"p99 swap/steady  {percentile(window, 0.99) / percentile(steady, 0.99):.2f}")
    _print_steps(results)
    back = [seconds_back(r, traffic) for r in rollbacks if r.code in (0, 6)]
    _print_table(done, back, bare, settle)
    failed = len(traffic.failed) + ledger.lost + ledger.doubled + ledger.tasks_lost
    return 1 if failed or len(done) < swaps or len(back) < ROLLBACKS else 0


def _print_steps(results: list[Result]) -> None:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        for event in result.events:
            if event["event"] == "step_succeeded":
                seconds[event["step"]].append(event["seconds"])
    steps = (f"{step} {median(times):.2f}" for step, times in seconds.items())
    print(f"steps, median    {', '.join(steps)}")


def _print_table(done: list[Swap], back: list[float], bare: list[float], settle: float) -> None:
    rows = {
        "candidate ready to first new answer": [s.ready_to_new for s in done],
        f"  beyond settling ({settle:g} s) and the worker": [s.own for s in done],
        "the worker's change": [s.workers for s in done],
        "rename to the last old answer's end": [s.switched for s in done],
        "drain": [s.drain for s in done],
        "whole deployment, nothing to build": [s.whole for s in done],
        "rollback's decision to the first old answer": back,
        "bare start of a container to its first 200": bare,
    }
    print(f"\n{'seconds':<46}{'min':>8}{'median':>8}{'max':>8}")
    for name, values in rows.items():
        if values:
            print(f"{name:<46}{min(values):>8.3f}{median(values):>8.3f}{max(values):>8.3f}")
    over_bare = median(s.whole for s in done) / median(bare)
    print(f"whole deployment over bare start: {over_bare:.1f}")


def _bare_start(stack: ScratchStack) -> float:
    """Seconds from `docker start` of the idle colour to its first ready answer."""
    live = stack.status()["live"]
    service = {"blue": "django-b", "green": "django-a"}[live]
    container = f"{stack.project}-{service}-1"
    run(["docker", "stop", "--time", "60", container], seconds=90)
    begun = monotonic()
    run(["docker", "start", container])
    found = Engine(stack.project).service(service)
    assert found
    while monotonic() - begun < START_SECONDS:
        answer = ask(f"{found.address}:8000", "/health/ready", host="localhost", seconds=1)
        if answer.status == 200:
            return monotonic() - begun
        sleep(0.01)
    raise TimeoutError(f"{service} was not ready within {START_SECONDS:g} s")
