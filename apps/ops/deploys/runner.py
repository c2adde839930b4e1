"""Runs a deployment's steps: records each before it acts, undoes them before the swap, finishes
them after it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

from django.db import DatabaseError

from apps.ops.conf import OpsSettings
from apps.ops.deploys import history, pipeline
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Everybody, Listener, Outcome, Sturdy
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.steps.base import Step
from apps.ops.edge.files import Edge
from apps.ops.errors import Busy, Cancelled, OpsError, StepFailed, SwappedBack
from apps.ops.models import Deployment
from apps.ops.redact import Redactor
from apps.ops.requester import Requester
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine

LIVE_WITH_WARNINGS = 6


def deploy(ref: str | None, *, settings: OpsSettings, presenter: Listener) -> Outcome:
    """Deploy a ref of the remote (None: its main branch), and record it.

    Returns:
        How it ended. What went wrong is in it; nothing an operator can cause is raised.
    """
    asked = {"ref": settings.branch if ref is None else ref, **Requester.now(settings).as_fields()}
    begun = monotonic()
    try:
        with ExitStack() as stack:
            who = f"{asked['requested_by']} deploys {asked['ref']}"
            stack.enter_context(deploy_lock(settings.state_dir, holder=who))
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-")))
            context = Deploy(
                settings=settings,
                ref=ref,
                engine=Engine(settings.project),
                edge=Edge(settings.edge_dir),
                checkout=Checkout(
                    settings.checkout, remote=settings.remote, branch=settings.branch
                ),
                say=lambda line: None,
                scratch=scratch,
            )
            record = _begin(context, asked)
            return Runner(context, pipeline.deploy_steps(), record, presenter).run(asked["ref"])
    except OpsError as error:
        Redactor.from_environment().clean_error(error)
        error.traffic = error.traffic or "Nothing was done; traffic is as it was."
        number = _record_refusal(asked, error) if isinstance(error, Busy) else None
        presenter.started(number, asked["ref"])
        outcome = Outcome("failed", error.exit_code, monotonic() - begun, number, error)
        presenter.ended(outcome)
        return outcome


def _begin(context: Deploy, asked: dict[str, str]) -> Deployment:
    """The history's first row; on an empty server Postgres is brought up for it."""
    try:
        return _first_row(asked)
    except DatabaseError:
        pass
    try:
        context.compose().ensure(["postgres"], say=context.say)
        return _first_row(asked)
    except OpsError as error:
        raise StepFailed(
            "Postgres does not answer and could not be started, so nothing can be recorded.",
            output=error.output,
            next="docker compose ps --all postgres   # then: docker compose logs postgres",
        ) from error
    except DatabaseError as error:
        raise StepFailed(
            f"Postgres runs and does not let us in: {str(error).strip()}",
            next="compare POSTGRES_* in .env with what the database was created with",
        ) from error


def _first_row(asked: dict[str, str]) -> Deployment:
    history.prepare()
    history.close_interrupted()
    return history.begin(**asked)


def _record_refusal(asked: dict[str, str], error: OpsError) -> int | None:
    try:
        return history.record_refusal(**asked, error=error)
    except DatabaseError:
        return None


class Runner:
    """One run of the steps, told to the history and a presenter."""

    def __init__(
        self,
        context: Deploy,
        steps: Sequence[Step],
        record: Deployment,
        presenter: Listener,
        *,
        redactor: Redactor | None = None,
    ) -> None:
        self._context = context
        self._steps = steps
        self._record = record
        self._history = history.History(record)
        self._presenter = Sturdy(presenter)
        self._tell = Everybody(self._history, self._presenter)
        self._redactor = redactor or Redactor.from_environment()
        self._told_warnings = 0
        context.say = lambda line: self._tell.line(self._redactor.clean(line))

    def run(self, ref: str) -> Outcome:
        begun = monotonic()
        self._tell.started(self._record.pk, ref)
        error: OpsError | None = None
        with _cancellable(self._context) as cancellation:
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

    def _end(self, error: OpsError | None, begun: float) -> Outcome:
        outcome = self._outcome(error, monotonic() - begun)
        lost = self._history.lost
        self._history.ended(outcome)
        if self._history.lost > lost:
            outcome = self._outcome(error, monotonic() - begun)
        if self._history.lost:
            self._presenter.warned(outcome.warnings[-1])
        self._presenter.ended(outcome)
        return outcome

    def _run_step(self, step: Step, position: int) -> None:
        context, begun = self._context, monotonic()
        self._tell.step_started(step.name, position)
        unswapped = context.swapped_at is None
        try:
            summary = step.run(context)
        except OpsError as error:
            self._redactor.clean_error(error)
            self._tell.step_failed(step.name, error, monotonic() - begun)
            if not step.after_swap:
                raise
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
            self._tell.step_succeeded(step.name, self._redactor.clean(summary), monotonic() - begun)
            if step.name == "fetch":
                self._tell.planned(context.plan)
            if step.name == "build":
                digest = context.engine.image_id(context.plan.commit.sha)
                self._history.image(digest or "")
        finally:
            if unswapped and context.swapped_at:
                self._tell.swapped(context.swapped_at)
        self._tell_warnings()

    def _undo(self, begun: Sequence[Step]) -> None:
        for step in reversed(begun):
            try:
                if step.undo(self._context):
                    self._tell.step_undone(step.name)
            except Exception as error:
                found, output = f"{error}", ""
                if isinstance(error, OpsError) and error.output:
                    output = f" {error.output.splitlines()[-1]}"
                self._context.warnings.append(
                    f"What {step.name} did could not be undone ({found}){output} "
                    "Next: manage.py status"
                )
        self._tell_warnings()

    def _tell_warnings(self) -> None:
        for warning in self._context.warnings[self._told_warnings :]:
            self._tell.warned(self._redactor.clean(warning))
        self._told_warnings = len(self._context.warnings)

    def _outcome(self, error: OpsError | None, seconds: float) -> Outcome:
        context = self._context
        warnings = [self._redactor.clean(warning) for warning in context.warnings]
        if self._history.lost:
            warnings.append(
                f"Postgres was away: {self._history.lost} line(s) of the history were not written."
            )
        match error:
            case None:
                status = Deployment.Status.SUCCEEDED
                code = LIVE_WITH_WARNINGS if warnings else 0
            case SwappedBack():
                status, code = Deployment.Status.ROLLED_BACK, error.exit_code
                error.traffic = error.traffic or self._traffic("Traffic was moved back")
            case Cancelled():
                status, code = Deployment.Status.INTERRUPTED, error.exit_code
                error.traffic = error.traffic or self._traffic("Traffic was never moved")
            case _:
                status, code = Deployment.Status.FAILED, error.exit_code
                error.traffic = error.traffic or self._traffic("Traffic was never moved")
        return Outcome(
            status=status.value,
            exit_code=code,
            seconds=seconds,
            deployment=self._record.pk,
            error=error,
            warnings=warnings,
            ready_at=context.watch.ready_at if context.watch else None,
            swapped_at=context.swapped_at,
            drained_at=context.drained_at,
        )

    def _traffic(self, what: str) -> str:
        live = self._context.edge.live()
        if self._context.swapped:
            return f"Traffic moved to {live} and was not moved back: look at manage.py status."
        release = self._context.plan.live_release if self._context.planned else ""
        serves = f": {live} serves release {release[:12]} as before" if release else ""
        return f"{what}{serves}."


class _Cancellation:
    """Ctrl-C and SIGTERM, until `shield`: from then on they are noted and nothing more."""

    def __init__(self, context: Deploy) -> None:
        self._context = context
        self._shielded = False

    def shield(self) -> None:
        self._shielded = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        cancelled = Cancelled(
            f"Cancelled ({signal.Signals(number).name}).", next="manage.py deploy   # when you like"
        )
        if self._shielded or self._context.swapped_at:
            self._context.say("It is too late to cancel: finishing what was begun.")
            return
        self._shielded = True
        if self._context.is_whole:
            self._context.cancelled = cancelled
            self._context.say("Cancelling, when Compose has ended what it is in the middle of.")
            return
        raise cancelled


@contextmanager
def _cancellable(context: Deploy) -> Iterator[_Cancellation]:
    cancellation = _Cancellation(context)
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, cancellation) for number in signals]
    try:
        yield cancellation
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
