"""Tasks while the worker changes under them: none lost, none run twice without need."""

from __future__ import annotations

from tests.rig.stack import ScratchStack

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
tasks = Message.objects.filter(text__startswith="task ")
counts = Counter(tasks.values_list("welcomes", flat=True))
print("COUNTS", counts[0], sum(counts.values()), sum(n for w, n in counts.items() if w > 1))
"""


def test_a_thousand_tasks_across_three_deployments_and_a_rollback_are_all_executed(
    stack: ScratchStack,
) -> None:
    for batch in range(3):
        stack.django_shell(QUEUE.format(count=250, batch=batch))
        stack.commit(f"Tasks {batch}", lambda project: None)
        assert stack.deploy().code == 0
    stack.django_shell(QUEUE.format(count=250, batch=3))
    assert stack.rollback().code == 0

    said = stack.django_shell(COUNT).strip().splitlines()[-1].split()
    lost, queued, twice = (int(number) for number in said[1:])

    print(f"{queued} tasks, {lost} lost, {twice} run twice")
    assert (queued, lost) == (1000, 0)
