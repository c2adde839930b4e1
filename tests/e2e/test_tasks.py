"""Tasks while the worker changes under them: none lost, none run twice without need."""

from __future__ import annotations

import pytest

from tests.rig.stack import ScratchStack

BATCH = 250
QUEUE = """
from apps.home.models import Message
from django_q.tasks import async_task
for number in range({count}):
    message = Message.objects.create(name="Tasks", text="task {batch} " + str(number))
    async_task("apps.home.tasks.welcome", message.pk)
"""
COUNT = """
import time
from collections import Counter
from apps.home.models import Message
from django_q.models import OrmQ
deadline = time.monotonic() + 300
while OrmQ.objects.exists() and time.monotonic() < deadline: time.sleep(0.5)
tasks = Message.objects.filter(text__startswith="task {batch}-")
counts = Counter(tasks.values_list("welcomes", flat=True))
print("COUNTS", counts[0], sum(counts.values()), sum(n for w, n in counts.items() if w > 1))
"""


@pytest.mark.parametrize("deployments", [1, pytest.param(3, marks=pytest.mark.more)])
def test_tasks_across_deployments_and_a_rollback_are_all_executed(
    stack: ScratchStack, deployments: int
) -> None:
    for batch in range(deployments):
        stack.django_shell(QUEUE.format(count=BATCH, batch=f"{deployments}-{batch}"))
        stack.commit(f"Tasks {batch}", lambda project: None)
        assert stack.deploy().code == 0
    stack.django_shell(QUEUE.format(count=BATCH, batch=f"{deployments}-last"))
    assert stack.rollback().code == 0

    count = COUNT.format(batch=deployments)
    said = stack.django_shell(count).strip().splitlines()[-1].split()
    lost, queued, twice = (int(number) for number in said[1:])

    print(f"{queued} tasks, {lost} lost, {twice} run twice")
    assert (queued, lost) == (BATCH * (deployments + 1), 0)
