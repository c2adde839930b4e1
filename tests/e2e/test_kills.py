"""The deployer is killed at every boundary of its steps, as `kill -9` or a power cut would, while
visitors come: what it left is put right by `recover`, and they never notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.ops.deploys.pipeline import deploy_steps
from tests.rig.chaos import HEADING, Row, describe_row, describe_total, kill_at, ledger_of
from tests.rig.stack import ScratchStack

RATE = 40.0
STEPS = [step.name for step in deploy_steps()]
BOUNDARIES = [(step, when) for step in STEPS for when in ("started", "succeeded")]
MOVED = BOUNDARIES[BOUNDARIES.index(("swap", "succeeded")) :]
# The steps that have more to do when the release brings a migration.
WITH_MIGRATION = ("preflight", "backup", "migrate", "contract")


@pytest.fixture(scope="module")
def rows(stack: ScratchStack, pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    """A row for each kill, printed as a table when all of them are over."""
    # There must be a standby for a killed deployment to take away, and for recovery to put back.
    assert stack.deploy().code == 0
    rows: list[Row] = []
    yield rows
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(HEADING, *map(describe_row, rows), sep="\n", flush=True)


@pytest.mark.parametrize(("step", "when"), BOUNDARIES)
def test_a_deployment_killed_at_a_step_boundary_is_recovered_and_no_visitor_notices(
    stack: ScratchStack, rows: list[Row], step: str, when: str
) -> None:
    number = BOUNDARIES.index((step, when))
    row = kill_at(
        stack,
        step,
        when,
        rate=RATE,
        migration=step in WITH_MIGRATION,
        kill_recovery=number % 2 / 2 if number % 3 == 0 else None,
        # Of the others the next one is the proof: it deploys on what the recovery left.
        again=number % 3 == 0 or (step, when) == BOUNDARIES[-1],
    )
    rows.append(row)

    assert not row.lost, describe_row(row)
    assert row.moved == ((step, when) in MOVED)
    assert len(row.traffic.requests) > 20


def test_no_message_and_no_task_was_lost_in_any_of_the_kills(
    stack: ScratchStack, rows: list[Row]
) -> None:
    ledger = ledger_of(stack, rows)

    assert (ledger.lost, ledger.doubled, ledger.tasks_lost) == (0, 0, 0), describe_total(
        rows, ledger
    )
