"""Writes down what a deployment does: in its journal first, then in Postgres."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.ops.deploys import journal
from apps.ops.deploys.context import Facts
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.history import LAST_WORD_SECONDS, Writer
from apps.ops.deploys.journal import Journal
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.story import Record, Story, plan_as_record
from apps.ops.errors import OpsError, StepFailed

if TYPE_CHECKING:
    from apps.ops.stack.inventory import Inventory

OUTPUT_LINES = 200
OUTPUT_CHARACTERS = 50_000


class Recorder(Listener):
    """Tells one story to its journal and to the history.

    Only what has to be known before something is done may fail for want of a disk; whatever else
    cannot be written is not worth a deployment.
    """

    def __init__(self, state_dir: Path, story: Story) -> None:
        self.story = story
        self._journal = Journal(state_dir, story.uid)
        self._writer = Writer()
        self._unwritten: deque[Record] = deque()
        self._step = ""
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)

    @property
    def number(self) -> int | None:
        """The deployment's number in the history; None until Postgres has it."""
        return self._writer.number

    @property
    def behind(self) -> bool:
        """Whether Postgres does not have it all."""
        return self._writer.behind

    @property
    def is_whole(self) -> bool:
        """Whether the journal has it all."""
        return not self._unwritten

    def begin(
        self,
        *,
        kind: str,
        ref: str,
        requested_by: str,
        requested_from: str,
        options: Mapping[str, bool],
        override: str = "",
    ) -> None:
        """Raises StepFailed when the journal cannot be written: then nothing must be done."""
        self._first(
            journal.record(
                "begun",
                kind=kind,
                ref=ref,
                requested_by=requested_by,
                requested_from=requested_from,
                options=dict(options),
                override=override,
            )
        )
        self._save()

    def intend(self, step: str, facts: Facts) -> None:
        """Raises StepFailed when the journal cannot be written: then nothing must be done."""
        self._first(journal.record("intended", step=step, facts=facts))

    def planned(self, plan: Plan) -> None:
        self._tell("planned", plan=plan_as_record(plan))

    def built(self, image: str, inventory: Inventory | None = None) -> None:
        self._tell("built", image=image, packages=inventory and inventory.as_record())

    def baked(self, figures: Mapping[str, Any]) -> None:
        self._tell("baked", figures=dict(figures))

    def step_started(self, name: str, position: int) -> None:
        self._output.clear()
        self._step = name
        self._tell("step_started", step=name, position=position)

    def line(self, text: str) -> None:
        self._output.append(text[:2000])

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._end_step("succeeded", summary)

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        if error.output and not self._output:
            self._output.extend(error.output.splitlines())
        self._end_step("failed", error.found)

    def step_undone(self, name: str) -> None:
        self._tell("step_undone", step=name)

    def undo_failed(self, name: str) -> None:
        self._tell("undo_failed", step=name)

    def swapped(self, at: datetime) -> None:
        self._tell("swapped", at=at.isoformat())

    def warned(self, warning: str) -> None:
        self._tell("warned", warning=warning)

    def left(self, warning: str) -> None:
        """The same, and nothing more: in the journal only, for there is no time for Postgres."""
        with suppress(OSError):
            self._append(journal.record("warned", warning=warning))
        self._journal.close()

    def ended(self, outcome: Outcome) -> None:
        error = outcome.error
        self._tell(
            "ended",
            patience=LAST_WORD_SECONDS,
            status=outcome.status,
            exit_code=outcome.exit_code,
            warnings=list(outcome.warnings),
            error=f"{error.found}\n\n{error.output}".strip() if error else "",
            traffic=error.traffic if error else "",
            next=error.next if error else "",
        )
        self._journal.close()

    def _end_step(self, status: str, summary: str) -> None:
        output = "\n".join(self._output)[-OUTPUT_CHARACTERS:]
        self._tell("step_ended", step=self._step, status=status, summary=summary, output=output)
        self._output.clear()

    def _tell(self, event: str, *, patience: float = 0.0, **fields: Any) -> None:
        record = journal.record(event, **fields)
        with suppress(OSError):
            self._append(record)
        self.story.apply(record)
        self._save(patience=patience)

    def _first(self, record: Record) -> None:
        try:
            self._append(record)
        except OSError as error:
            self._unwritten.pop()
            raise StepFailed(
                f"What is to be done cannot be written down first: {error}.",
                next="df -h   # is the disk full, or the state volume gone?",
            ) from error
        self.story.apply(record)

    def _append(self, record: Record) -> None:
        """What could not be written before comes first: without it, what follows says nothing."""
        self._unwritten.append(record)
        while self._unwritten:
            self._journal.append(self._unwritten[0])
            self._unwritten.popleft()

    def _save(self, *, patience: float = 0.0) -> None:
        self._writer.write(self.story, patience=patience)
