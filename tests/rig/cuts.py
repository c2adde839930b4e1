"""`just cuts`: cut the link of `remote deploy` at random moments, under traffic, and check that the
deployment, its visitors and every line of its output came through."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from statistics import median

from tests.rig.cut_round import (
    BROKEN,
    CANCELLED,
    CLOSED,
    GOOD,
    HUNG_SECONDS,
    KILLED,
    NEVER,
    RESET,
    SILENT,
    Cut,
    Plan,
    Row,
    break_site,
    cut_round,
    touch_site,
)
from tests.rig.laptop import Laptop
from tests.rig.load import Traffic
from tests.rig.report import Ledger
from tests.rig.stack import ScratchStack, project_of

STATUSES = 10
# Of the rounds; a silence takes half a minute.
SILENT_SHARE = 0.25
JSON_SHARE = 0.7


def cuts(source: Path, root: Path, port: int, *, rounds: int, rate: float, seed: int | None) -> int:
    """Exit code 0: in so many deployments that were begun and cut off, nothing was lost."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    print(f"{rounds} cut deployments at {rate:g} requests a second; the same again: --seed {seed}")
    stack = ScratchStack(
        root,
        project=project_of("changeover-cuts", root),
        port=port,
        settings={
            "OPS_SETTLE_SECONDS": "0.5",
            "OPS_BAKE_SECONDS": "1",
            "OPS_SMOKE_PATHS": "/,/about/",
        },
    )
    stack.destroy()
    try:
        stack.create(source)
        stack.compose("build", "utility", seconds=1800)
        laptop = Laptop(stack.site)
        try:
            return _rounds(stack, laptop, random.Random(seed), rounds=rounds, rate=rate)
        finally:
            laptop.close()
    finally:
        stack.destroy()


def _rounds(
    stack: ScratchStack, laptop: Laptop, dice: random.Random, *, rounds: int, rate: float
) -> int:
    refs = [stack.commit(f"Release {name}", touch_site) for name in ("one", "two")]
    stack.commit("A broken one", break_site, branch="broken")
    if (first := stack.deploy(refs[0])).code:
        print(first.output, first.errors)
        return first.code
    lengths = {}
    for kind, ref in ((GOOD, refs[1]), (BROKEN, "broken"), (GOOD, refs[0])):
        # The last finds a standby and its image, as those do that are cut.
        row = cut_round(stack, laptop, Plan(kind), ref, rate=rate)
        if row.lost:
            print(*row.lost, sep="\n")
            return 1
        lengths[kind] = row.seconds
    print(f"a deployment takes {lengths[GOOD]:.1f} s, one that fails {lengths[BROKEN]:.1f} s")
    print(describe_first_lines(laptop))
    print(HEADING, flush=True)
    rows: list[Row] = []
    while sum(row.counts for row in rows) < rounds and len(rows) < 2 * rounds:
        plan = random_plan(dice, lengths)
        ref = "broken" if plan.kind == BROKEN else next(ref for ref in refs if ref != row.live)
        row = cut_round(stack, laptop, plan, ref, rate=rate)
        rows.append(row)
        print(describe_row(row), flush=True)
        if row.status != NEVER and plan.kind != CANCELLED:
            # Other work on this machine makes it slower and faster.
            lengths[plan.kind] = row.seconds
    posted = [text for row in rows for text in row.traffic.posted]
    ledger = Ledger.of(stack, Traffic(posted=posted))
    print(describe_total(rows, ledger))
    lost = any(row.lost for row in rows) or ledger.lost or ledger.doubled or ledger.tasks_lost
    return 1 if lost or sum(row.counts for row in rows) < rounds else 0


def random_plan(dice: random.Random, lengths: Mapping[str, float]) -> Plan:
    """Each moment as likely as any other, from the command to the end of what it shows."""
    kind = dice.choices((GOOD, BROKEN, CANCELLED), (6, 2, 2))[0]
    length = lengths[BROKEN if kind == BROKEN else GOOD]
    moments = sorted(dice.uniform(0, length) for _ in range(dice.choice((1, 1, 2, 3))))
    hows = [dice.choice((CLOSED, RESET, KILLED)) for _ in moments]
    if dice.random() < SILENT_SHARE:
        hows[dice.randrange(len(hows))] = SILENT
    return Plan(
        kind,
        as_json=dice.random() < JSON_SHARE,
        cuts=[Cut(*cut) for cut in zip(moments, hows, strict=True)],
        cancelled=dice.uniform(0, length) if kind == CANCELLED else None,
    )


HEADING = (
    f"\n{'what':<10} {'shown as':<8} {'cuts':<32} {'it ended':<16} {'code':>4} {'lines':>6} "
    f"{'requests':>8} {'failed':>6} {'seconds':>7} output"
)


def describe_row(row: Row) -> str:
    """A line of the table, and one for each thing that was lost."""
    moments = zip(row.plan.cuts, row.made, strict=False)
    made = ", ".join(f"{how} {cut.seconds:.1f}" for cut, how in moments)
    code = "" if row.code == -SIGKILL else row.code
    line = (
        f"{row.plan.kind:<10} {'json' if row.plan.as_json else 'lines':<8} {made:<32} "
        f"{row.status:<16} {code!s:>4} {row.lines:>6} {len(row.traffic.requests):>8} "
        f"{len(row.traffic.failed):>6} {row.seconds:>7.1f} {'LOST' if row.lost else 'whole'}"
    )
    return "\n".join([line, *(f"    lost: {what}" for what in row.lost[:8])])


def describe_total(rows: Sequence[Row], ledger: Ledger) -> str:
    counted = [row for row in rows if row.counts]
    made = Counter(how for row in counted for how in row.made)
    found = [seconds for row in rows for seconds in row.found]
    firsts = [row.first for row in rows if row.first]
    statuses = Counter(row.status for row in counted)
    sent = sum(len(row.traffic.requests) for row in rows)
    failed = sum(len(row.traffic.failed) for row in rows)
    posts = sum(len(row.traffic.posted) for row in rows)
    return "\n".join(
        [
            "",
            f"deployments      {len(counted)}: {_counts(statuses)}",
            f"cuts             {sum(made.values())}: {_counts(made)}",
            f"silence found    after {max(found):.1f} s at most"
            if found
            else "silence found    none fell",
            f"lines of output  {sum(row.lines for row in counted)}",
            f"something lost   in {sum(bool(row.lost) for row in rows)}",
            f"never begun      {sum(row.status == NEVER for row in rows)} more (cut before)",
            f"not cut          {sum(not row.made for row in rows)} more (over before)",
            f"first line       {_spread(firsts)} of remote deploy, under this traffic",
            f"left to prune    {sum(row.left for row in rows)} ended containers",
            f"requests         {sent}, failed: {failed}",
            f"posts            {posts}, lost: {ledger.lost}, doubled: {ledger.doubled}",
            f"tasks lost       {ledger.tasks_lost}",
        ]
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counter.most_common())


def describe_first_lines(laptop: Laptop) -> str:
    """How long `remote status` takes to its first line, beside `ssh … true`."""
    bare = [laptop.ssh("true") for _ in range(STATUSES)]
    times = []
    for _ in range(STATUSES):
        client = laptop.begin("status")
        client.wait(HUNG_SECONDS)
        times.append(client.first_after or HUNG_SECONDS)
    return f"first line of remote status: {_spread(times)}; ssh … true: {_spread(bare)}"


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "not seen"
    return f"median {median(seconds):.2f} s, least {min(seconds):.2f} s"
