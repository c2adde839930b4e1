"""One plain line an event: for logs, pipes and cron mails."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TextIO

from django.core.management.base import OutputWrapper

from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.errors import OpsError
from apps.ops.output import Output
from apps.ops.presenters.words import headline, plan_facts


class Lines(Listener):
    """Args:
    verbosity: Django's: 0 only how it ended, 1 the steps, 2 and 3 their output too.
    """

    def __init__(
        self, out: TextIO | OutputWrapper, *, verbosity: int = 1, kind: str = "deploy"
    ) -> None:
        self._out = Output(out)
        self._verbosity = verbosity
        self._kind = kind

    def started(self, deployment: int | None, ref: str) -> None:
        self._say(f"{self._kind} {ref}" + (f" (deployment #{deployment})" if deployment else ""))

    def planned(self, plan: Plan) -> None:
        for name, value in plan_facts(plan):
            self._say(f"{name}: {value}")

    def step_started(self, name: str, position: int) -> None:
        self._say(f"{name} …")

    def line(self, text: str) -> None:
        if self._verbosity > 1:
            self._say(f"  {text}")

    def noted(self, text: str) -> None:
        self._say(f"  {text}")

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._say(f"{name}: {summary} ({seconds:.1f} s)")

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        self._say(f"{name}: FAILED ({seconds:.1f} s)")

    def step_undone(self, name: str) -> None:
        self._say(f"{name}: undone")

    def warned(self, warning: str) -> None:
        self._say(f"warning: {warning}")

    def ended(self, outcome: Outcome) -> None:
        self._write(headline(outcome))
        if error := outcome.error:
            for line in error.output.split("\n") if error.output else ():
                self._write(f"  | {line}")
            self._write(error.found)
            self._write(error.traffic)
            if error.next:
                self._write(f"Next: {error.next}")

    def _say(self, text: str) -> None:
        if self._verbosity > 0:
            self._write(text)

    def _write(self, text: str) -> None:
        self._out.write(f"{datetime.now(UTC):%H:%M:%S} {text}")
        self._out.flush()
