"""Killing the deployer at a boundary of its steps, as `kill -9` or a power cut would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from apps.ops.deploys.pipeline import deploy_steps
from tests.e2e.conftest import RATE
from tests.rig.chaos import HEADING, Row, describe_row, describe_total, kill_at, ledger_of
from tests.rig.stack import ScratchStack

STEPS = [step.name for step in deploy_steps()]
AFTER_THE_SWAP = STEPS.index("swap") + 1
# The steps that have more to do when the release brings a migration.
WITH_MIGRATION = ("preflight", "backup", "migrate", "contract")
# Without a maintenance page, a dump or a CDN these do nothing: what comes after them begins alike.
DO_NOTHING = ("pause", "backup", "resume", "purge")


def boundaries(steps: Sequence[str], *, last: bool = False) -> list[object]:
    """The kills at these steps' begins; that a step has ended is the same boundary as that the next
    one begins, but for the last one's."""
    kills: list[object] = []
    for step in steps:
        began = pytest.mark.more if step in DO_NOTHING else ()
        kills.append(pytest.param(step, "started", marks=began))
        ended = () if last and step == steps[-1] else pytest.mark.more
        kills.append(pytest.param(step, "succeeded", marks=ended))
    return kills


@contextmanager
def table(config: pytest.Config) -> Iterator[list[Row]]:
    """A row for each kill, printed when all of them are over."""
    rows: list[Row] = []
    yield rows
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(HEADING, *map(describe_row, rows), sep="\n", flush=True)


def kill(stack: ScratchStack, rows: list[Row], step: str, when: str) -> Row:
    """The next kill is the proof of this one: it deploys on what the recovery left."""
    row = kill_at(
        stack,
        step,
        when,
        rate=RATE,
        build=step == "build",
        migration=step in WITH_MIGRATION,
        kill_recovery=len(rows) % 2 / 2 if len(rows) % 3 == 0 else None,
        again=False,
    )
    rows.append(row)
    assert not row.lost, describe_row(row)
    assert len(row.traffic.requests) > 10
    return row


def assert_nothing_was_lost(stack: ScratchStack, rows: list[Row]) -> None:
    """In none of the kills, nor after the last one."""
    assert stack.deploy().code == 0
    ledger = ledger_of(stack, rows)
    found = (ledger.lost, ledger.doubled, ledger.tasks_lost)
    assert found == (0, 0, 0), describe_total(rows, ledger)
