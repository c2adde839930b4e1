from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

from apps.ops.deploys.cancel import PATIENCE_SECONDS, Cancellation, cancel
from apps.ops.errors import Cancelled, OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.stack.engine import Engine


class Command(OpsCommand):
    help = (
        "Ask the deployment that runs to stop, and wait for its end. Before the swap what it did "
        "is undone; after it, it finishes. Works with Postgres down. Exit code 0 when it stopped "
        "or nothing ran, 1 when not."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        ops = settings.OPS
        try:
            done = cancel(ops.state_dir, Engine(ops.project))
            if done is None:
                self.stdout.write("Nothing runs.")
            else:
                self._tell(done)
        except OpsError as error:
            self.tell(error, traffic="")
            sys.exit(error.exit_code)

    def _tell(self, done: Cancellation) -> None:
        self.stdout.write(f"Asked to stop: {done.asked.holder or 'a deployment without a name'}.")
        if done.too_late:
            raise OpsError(
                "It was too late: it had moved the traffic, and "
                f"{'has finished' if done.freed else 'finishes'}.",
                traffic="The new release is live.",
                next="manage.py rollback",
            )
        if not done.freed:
            step = done.story.running_step if done.story else ""
            at = f" It is at the step {step}." if step else ""
            raise OpsError(
                f"After {PATIENCE_SECONDS:g} s it has not ended: it waits for what may not be cut "
                f"in the middle, or puts back what it did.{at}",
                traffic="Traffic was not moved so far.",
                next="manage.py status   # in a minute; what runs takes its own time to stop",
            )
        self.stdout.write(_ending(done))


def _ending(done: Cancellation) -> str:
    ended = done.story.ended if done.story else None
    if ended is None:
        return "It has stopped and did not say how. Next: manage.py status"
    if done.story and done.story.swapped_at:
        return "It has stopped; traffic had moved, and was moved back."
    if ended.get("exit_code") != Cancelled.exit_code:
        return f"It has ended by itself: {ended.get('status')}. Next: manage.py history"
    warned = " It left warnings: manage.py history" if ended.get("warnings") else ""
    return f"It has stopped, and what it had done is undone. Traffic was never moved.{warned}"
