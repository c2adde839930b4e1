"""What a swap under traffic did to its visitors, from their side and from the deployment's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.rig.load import Request, Traffic, percentile
from tests.rig.stack import Result, ScratchStack


@dataclass(frozen=True, slots=True)
class Swap:
    """A deployment under traffic.

    `window` are the requests under way in the second after the rename, `all`
    those of the whole deployment. `ready_to_new` is from the candidate's first ready answer to the
    first answer of the new release at the front door; `own` is the part of it that is neither the
    configured settling nor the worker's change; all are seconds."""

    release: str
    whole: float
    ready_to_new: float
    own: float
    workers: float
    switched: float
    drain: float
    window: list[Request]
    all: list[Request]

    @classmethod
    def of(cls, result: Result, traffic: Traffic, *, settle: float) -> Swap:
        ended = result.event("ended")
        ready, swapped = _time(ended["ready_at"]), _time(ended["swapped_at"])
        retire = _time(result.event("step_started", step="retire")["time"])
        drained = _time(ended["drained_at"]) if ended["drained_at"] else retire
        release = result.event("planned")["release"]
        workers = result.event("step_succeeded", step="workers")["seconds"]
        after = [r for r in traffic.requests if r.begun > ready - 5 and r.kind != "slow"]
        first_new = min(r.ended for r in after if r.release == release)
        last_old = max(
            (r.ended for r in after if r.begun < drained and r.release != release), default=swapped
        )
        return cls(
            release=release,
            whole=ended["seconds"],
            ready_to_new=first_new - ready,
            own=first_new - ready - settle - workers,
            workers=workers,
            switched=max(last_old - swapped, 0.0),
            drain=drained - retire,
            window=traffic.during(swapped, swapped + 1.0),
            all=traffic.during(_time(result.event("started")["time"]), _time(ended["time"])),
        )


def seconds_back(rollback: Result, traffic: Traffic) -> float:
    """From a rollback's decision to the first answer of its release at the front door."""
    decided = _time(rollback.event("step_succeeded", step="choose")["time"])
    release = rollback.event("planned")["release"]
    return (
        min(r.ended for r in traffic.requests if r.begun > decided and r.release == release)
        - decided
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """Posts and tasks counted in the database, against what the visitors were told."""

    lost: int
    doubled: int
    tasks_lost: int
    tasks_doubled: int

    @classmethod
    def of(cls, stack: ScratchStack, traffic: Traffic) -> Ledger:
        rows = json.loads(
            stack.django_shell(
                "import json, time\n"
                "from django_q.models import OrmQ\n"
                "from apps.home.models import Message\n"
                "deadline = time.monotonic() + 120\n"
                "while OrmQ.objects.exists() and time.monotonic() < deadline: time.sleep(0.2)\n"
                "rows = Message.objects.filter(text__startswith='load ')\n"
                "print(json.dumps(list(rows.values_list('text', 'welcomes'))))"
            )
            .strip()
            .splitlines()[-1]
        )
        found = Counter(text for text, _ in rows)
        return cls(
            lost=sum(text not in found for text in traffic.posted),
            doubled=sum(count > 1 for count in found.values()),
            tasks_lost=sum(welcomes == 0 for _, welcomes in rows),
            tasks_doubled=sum(welcomes > 1 for _, welcomes in rows),
        )


def describe(traffic: Traffic, ledger: Ledger, steady: list[Request], swaps: Sequence[Swap]) -> str:
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(traffic.kinds.items()))
    sent, posts = len(traffic.requests), len(traffic.tried)
    lines = [
        f"requests sent    {sent:,} ({kinds})",
        f"failed           {len(traffic.failed)}",
        f"posts            {posts:,} sent, {ledger.lost} lost, {ledger.doubled} doubled",
        f"their tasks      {ledger.tasks_lost} lost, {ledger.tasks_doubled} run twice",
        f"steady           {_spread(steady)}",
        f"swap window      {_spread([r for swap in swaps for r in swap.window])}",
        f"all of a deploy  {_spread([r for swap in swaps for r in swap.all])}",
    ]
    failures = Counter(request.error for request in traffic.failed)
    lines += [f"  {count} x {error}" for error, count in failures.most_common(5)]
    return "\n".join(lines)


def _spread(requests: list[Request]) -> str:
    return f"p50 {percentile(requests, 0.5):.1f} ms, p99 {percentile(requests, 0.99):.1f} ms"


def _time(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
