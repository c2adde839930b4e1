"""Runs a deployment's steps: writes each down before it acts, undoes them before the swap, finishes
them after it; and does the same for a deployment whose process was killed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, sleep

from django.db import connection

from apps.ops import interrupts
from apps.ops.deploys.cancellation import Cancellation, EngineStopped
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Everybody, Listener, Outcome, Sturdy
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.steps.base import Step
from apps.ops.edge.front_door import answers
from apps.ops.errors import (
    Cancelled,
    Interrupted,
    NobodyServed,
    OpsError,
    StepFailed,
    SwappedBack,
)
from apps.ops.models import Deployment
from apps.ops.redact import LineByLine, Redactor
from apps.ops.stack.engine import EngineAway

LIVE_WITH_WARNINGS = 6
# A restart of the Docker daemon, in which nothing can be taken back.
UNDO_SECONDS = 30.0
STOPPED = "Docker was stopped meanwhile."


class Runner:
    """One run of the steps, told to the history and a presenter."""

    def __init__(
        self,
        context: Deploy,
        steps: Sequence[Step],
        recorder: Recorder,
        presenter: Listener,
        *,
        redactor: Redactor | None = None,
    ) -> None:
        self._context = context
        self._steps = steps
        self._recorder = recorder
        self._cancellation = Cancellation(context)
        self._presenter = Sturdy(presenter)
        self._tell = Everybody(self._recorder, self._presenter)
        self._redactor = redactor or Redactor.from_environment()
        # A story that is resumed has told its warnings.
        self._told_warnings = len(recorder.story.warnings)
        context.write_ahead = recorder.intend
        lines = LineByLine(self._redactor)
        context.say = lambda line: self._tell.line(lines.clean(line))
        context.note = lambda line: self._tell.noted(self._redactor.clean(line))

    def run(self, ref: str) -> Outcome:
        begun = monotonic()
        try:
            return self._run(ref, begun)
        except EngineStopped:
            return self._leave(begun)

    def _run(self, ref: str, begun: float) -> Outcome:
        self._tell.started(self._recorder.number, ref)
        error: OpsError | None = None
        cancellation = self._cancellation
        with interrupts.handling_signals(cancellation):
            begun_steps: list[Step] = []
            try:
                for position, step in enumerate(self._steps, start=1):
                    if self._context.swapped:
                        cancellation.shield()
                    begun_steps.append(step)
                    self._run_step(step, position)
            except OpsError as failure:
                cancellation.shield()
                error = failure
                if not self._context.swapped:
                    self._undo(begun_steps)
            # Its own last word must be written, too.
            cancellation.shield()
            return self._end(error, begun)

    def _leave(self, begun: float) -> Outcome:
        """Let it look as if it had been killed, but for a note in its journal."""
        self._recorder.left(STOPPED)
        error = Interrupted(
            "Docker is being stopped; what was begun is put in order when it is back.",
            traffic=self._traffic("Traffic was never moved"),
            next="manage.py recover   # the agent does it by itself",
        )
        outcome = self._outcome(error, monotonic() - begun)
        if self._context.swapped:
            outcome = replace(outcome, exit_code=LIVE_WITH_WARNINGS)
        self._presenter.ended(outcome)
        return outcome

    def _end(self, error: OpsError | None, begun: float) -> Outcome:
        outcome = self._outcome(error, monotonic() - begun)
        self._recorder.ended(outcome)
        if self._recorder.behind:
            self._context.warnings.append(
                "Postgres was away: the journal has this deployment whole, and the next command "
                "brings it into the history."
                if self._recorder.is_whole
                else "Neither Postgres nor the disk took all that happened: the history will say "
                "that this deployment ended without a word. Next: df -h"
            )
            outcome = self._outcome(error, monotonic() - begun)
            self._presenter.warned(outcome.warnings[-1])
        self._presenter.ended(outcome)
        return outcome

    def _run_step(self, step: Step, position: int) -> None:
        context, begun = self._context, monotonic()
        self._tell.step_started(step.name, position)
        unswapped = context.swapped_at is None
        # An earlier step's: it is dead if Postgres was restarted since.
        connection.close()
        try:
            summary = step.run(context)
        except OpsError as error:
            self._redactor.clean_error(error)
            self._tell.step_failed(step.name, error, monotonic() - begun)
            if not step.after_swap or isinstance(error, SwappedBack | NobodyServed):
                raise
            self._cancellation.leave_if_stopped()
            what_next = f" Next: {error.next}" if error.next else ""
            context.warnings.append(f"{step.name}: {error.found}{what_next}")
        except Exception as error:
            # A bug of ours, or something nobody thought of: it ends like every other failure.
            failure = StepFailed(
                f"{type(error).__name__}: {error}", next="report it, with this output"
            )
            self._redactor.clean_error(failure)
            self._tell.step_failed(step.name, failure, monotonic() - begun)
            if not step.after_swap:
                raise failure from error
            context.warnings.append(f"{step.name}: {failure.found}")
        else:
            if step.name == "build":
                # Before it is said that it ended: with that it comes into the history.
                image = context.engine.image_id(context.plan.commit.sha) or ""
                self._recorder.built(image, context.inventory)
            self._tell.step_succeeded(step.name, self._redactor.clean(summary), monotonic() - begun)
            if step.name == self._steps[0].name:
                self._tell.planned(context.plan)
        finally:
            if unswapped and context.swapped_at:
                self._tell.swapped(context.swapped_at)
            if context.bake != self._recorder.story.bake:
                self._recorder.baked(context.bake)
        self._tell_warnings()

    def _undo(self, begun: Sequence[Step]) -> bool:
        """Take back what these steps did, the last one first; whether all of it was."""
        whole = True
        for step in reversed(begun):
            try:
                # A second try can find that the first one had come to its end.
                if self._patiently(step) or self._could_not_undo(step.name):
                    self._tell.step_undone(step.name)
            except Exception as error:
                whole = False
                found, output = f"{error}", ""
                if isinstance(error, OpsError) and error.output:
                    output = f" {error.output.splitlines()[-1]}"
                self._recorder.undo_failed(step.name)
                self._context.warnings.append(
                    f"What {step.name} did could not be undone ({found}){output} "
                    "Next: manage.py recover"
                )
        self._tell_warnings()
        return whole

    def _patiently(self, step: Step) -> bool:
        deadline = monotonic() + UNDO_SECONDS
        while True:
            try:
                return step.undo(self._context)
            except EngineAway:
                self._cancellation.leave_if_stopped()
                if monotonic() > deadline:
                    raise
                sleep(1.0)

    def resume(self, *, finish: bool, by: str) -> Outcome:
        """Undo or finish what a killed process left of a deployment.

        A signal that comes meanwhile is raised again when this is done.

        Args:
            finish: whether one that has moved the traffic is finished; otherwise it is only closed.
            by: what found it, for the history.

        Raises:
            Interrupted: the engine is being stopped; the next one goes on.
        """
        begun = monotonic()
        try:
            return self._resume(begun, finish=finish, by=by)
        except EngineStopped:
            outcome = self._leave(begun)
            assert outcome.error is not None
            raise outcome.error from None

    def _resume(self, begun: float, *, finish: bool, by: str) -> Outcome:
        context, story = self._context, self._recorder.story
        self._tell.started(self._recorder.number, story.ref)
        had_ended, killed_in = story.ended, story.running_step
        error: OpsError | None = None
        cancellation = self._cancellation
        with interrupts.handling_signals(cancellation):
            cancellation.shield()
            if context.swapped_at and not story.swapped_at:
                self._tell.swapped(context.swapped_at)
            if context.swapped and finish and not had_ended:
                try:
                    for position, step in enumerate(self._steps, start=1):
                        done = story.steps.get(step.name)
                        if step.after_swap and not (done and done.status == "succeeded"):
                            self._run_step(step, position)
                except SwappedBack as failure:
                    error = failure
                else:
                    context.warnings.append(
                        f"Its process ended without a word in {killed_in or 'between steps'}; "
                        f"{by} finished it."
                    )
            elif context.swapped:
                for position, step in enumerate(self._steps, start=1):
                    if step.closes and not had_ended:
                        self._run_step(step, position)
                for name in story.steps:
                    if self._could_not_undo(name):
                        # It serves now: there is nothing to take back any more.
                        self._tell.step_undone(name)
                error = Interrupted(
                    f"Its process ended without a word; {by} found its release live.",
                    traffic=f"{context.plan.candidate} served its release.",
                )
            if not context.swapped:
                left = [s for s in self._steps if self._is_left(s.name)]
                whole = self._undo(left)
                error = error or Interrupted(
                    f"Its process ended without a word in {killed_in or 'between steps'}; "
                    f"{by} {'undid it' if whole else 'could not undo all of it'}."
                )
            # How it ended may have been said; what could not be undone then is undone now.
            seconds = monotonic() - begun
            outcome = self._outcome(error, seconds) if had_ended else self._end(error, begun)
        if cancellation.noted:
            signal.raise_signal(cancellation.noted)
        return outcome

    def _could_not_undo(self, name: str) -> bool:
        step = self._recorder.story.steps.get(name)
        return step is not None and step.undo == "failed"

    def _is_left(self, name: str) -> bool:
        """Whether a step has to be undone: with one that could not be, all before it again, for
        what they took back can depend on it."""
        story = self._recorder.story
        step = story.steps.get(name)
        failed = [s.position for s in story.steps.values() if s.undo == "failed"]
        return step is not None and (story.ended is None or step.position <= max(failed, default=0))

    def _tell_warnings(self) -> None:
        for warning in self._context.warnings[self._told_warnings :]:
            self._tell.warned(self._redactor.clean(warning))
        self._told_warnings = len(self._context.warnings)

    def _outcome(self, error: OpsError | None, seconds: float) -> Outcome:
        context = self._context
        warnings = [self._redactor.clean(warning) for warning in context.warnings]
        match error:
            case None:
                status = Deployment.Status.SUCCEEDED
                code = LIVE_WITH_WARNINGS if warnings else 0
            case SwappedBack():
                status, code = Deployment.Status.ROLLED_BACK, error.exit_code
                error.traffic = error.traffic or self._traffic("Traffic was moved back")
            case Cancelled() | Interrupted():
                status, code = Deployment.Status.INTERRUPTED, error.exit_code
                moved = "moved back" if self._context.moved_back else "never moved"
                error.traffic = error.traffic or self._traffic(f"Traffic was {moved}")
            case _:
                status, code = Deployment.Status.FAILED, error.exit_code
                error.traffic = error.traffic or self._traffic("Traffic was never moved")
        return Outcome(
            status=status.value,
            exit_code=code,
            seconds=seconds,
            deployment=self._recorder.number,
            error=error,
            warnings=warnings,
            ready_at=context.watch.ready_at if context.watch else None,
            swapped_at=context.swapped_at,
            drained_at=context.drained_at,
        )

    def _traffic(self, what: str) -> str:
        live = self._context.edge.live()
        if self._context.nobody_served and not answers(self._context.settings, seconds=0.0):
            return f"{what}. Nobody is served: Caddy does not answer."
        if self._context.swapped:
            return f"Traffic moved to {live} and was not moved back: look at manage.py status."
        release = self._context.plan.live_release if self._context.planned else ""
        serves = f": {live} serves release {release[:12]} as before" if release else ""
        return f"{what}{serves}."
