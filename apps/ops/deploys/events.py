"""What a deployment says while it runs: to the terminal, to a log, to the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apps.ops.deploys.plan import Plan
from apps.ops.errors import OpsError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a deployment ended.

    `seconds` counts from its start to its end. `ready_at`, `swapped_at` and `drained_at` are when
    the candidate first was ready, traffic moved, and the old colour had answered its last request.
    """

    status: str
    exit_code: int
    seconds: float
    deployment: int | None = None
    error: OpsError | None = None
    warnings: Sequence[str] = field(default=())
    ready_at: datetime | None = None
    swapped_at: datetime | None = None
    drained_at: datetime | None = None


class Listener:
    """Told what happens, in order; each method does nothing unless overridden."""

    def started(self, deployment: int | None, ref: str) -> None: ...

    def planned(self, plan: Plan) -> None: ...

    def step_started(self, name: str, position: int) -> None: ...

    def line(self, text: str) -> None:
        """A line of a step's output, secrets already taken out."""

    def noted(self, text: str) -> None:
        """A line of a step's output that everybody should read."""
        self.line(text)

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None: ...

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None: ...

    def step_undone(self, name: str) -> None: ...

    def swapped(self, at: datetime) -> None: ...

    def warned(self, warning: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


class Everybody(Listener):
    """Passes everything on to several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def _pass_on(self, event: str, *details: object) -> None:
        for listener in self._listeners:
            getattr(listener, event)(*details)

    def started(self, deployment: int | None, ref: str) -> None:
        self._pass_on("started", deployment, ref)

    def planned(self, plan: Plan) -> None:
        self._pass_on("planned", plan)

    def step_started(self, name: str, position: int) -> None:
        self._pass_on("step_started", name, position)

    def line(self, text: str) -> None:
        self._pass_on("line", text)

    def noted(self, text: str) -> None:
        self._pass_on("noted", text)

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._pass_on("step_succeeded", name, summary, seconds)

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        self._pass_on("step_failed", name, error, seconds)

    def step_undone(self, name: str) -> None:
        self._pass_on("step_undone", name)

    def swapped(self, at: datetime) -> None:
        self._pass_on("swapped", at)

    def warned(self, warning: str) -> None:
        self._pass_on("warned", warning)

    def ended(self, outcome: Outcome) -> None:
        self._pass_on("ended", outcome)


class Sturdy(Everybody):
    """A listener whose terminal or pipe may go away: from then on nothing is told to it, and the
    deployment goes on."""

    def _pass_on(self, event: str, *details: object) -> None:
        try:
            super()._pass_on(event, *details)
        except OpsError:
            raise  # A signal's, which happened to come just now.
        except Exception:
            self._listeners = ()
