"""The deployer is killed after it has moved the traffic, while visitors come: `recover` finishes
what it began, and they never notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kills import AFTER_THE_SWAP, STEPS, assert_nothing_was_lost, boundaries, kill, table
from tests.rig.chaos import Row
from tests.rig.stack import ScratchStack


@pytest.fixture(scope="module")
def rows(stack: ScratchStack, pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    # There must be a standby for the first one to take away.
    assert stack.deploy().code == 0
    with table(pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize(
    ("step", "when"),
    [
        pytest.param("swap", "succeeded", marks=pytest.mark.more),
        *boundaries(STEPS[AFTER_THE_SWAP:], last=True),
    ],
)
def test_a_deployment_killed_after_the_swap_is_finished_and_no_visitor_notices(
    stack: ScratchStack, rows: list[Row], step: str, when: str
) -> None:
    assert kill(stack, rows, step, when).moved


def test_no_message_and_no_task_was_lost_in_any_of_the_kills(
    stack: ScratchStack, rows: list[Row]
) -> None:
    assert_nothing_was_lost(stack, rows)
