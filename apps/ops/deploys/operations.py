"""What can be asked for: a deployment, a rollback, a recovery. One at a time."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic

import psycopg
from django.conf import settings as site
from django.db import DatabaseError

from apps.ops import freezes
from apps.ops.backups.server import owner_alias
from apps.ops.conf import OpsSettings
from apps.ops.deploys import history, journal, one_checkout, pipeline, recovery, requests
from apps.ops.deploys.cancellation import AGAIN
from apps.ops.deploys.context import Deploy, Options
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.story import Story
from apps.ops.edge.files import Edge
from apps.ops.errors import Busy, Cancelled, Frozen, OpsError, StepFailed
from apps.ops.interrupts import cancellable
from apps.ops.redact import Redactor
from apps.ops.requester import Requester, printable, through_the_site
from apps.ops.roles.make import make as make_roles
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine
from apps.ops.variables import require_right_variables

AS_USUAL = Options()
DATABASE_PROBLEMS = (DatabaseError, psycopg.Error)
NOUNS = {"deploy": "deployment", "rollback": "rollback"}


def deploy(
    ref: str | None,
    *,
    settings: OpsSettings,
    presenter: Listener,
    options: Options = AS_USUAL,
    request: str | None = None,
) -> Outcome:
    """Deploy a ref of the remote (None: its main branch), and record it.

    Args:
        request: the uid of the row that asked for it, which an agent has taken.

    Returns:
        How it ended. What went wrong is in it; nothing an operator can cause is raised.
    """
    return _carry_out(
        "deploy", ref, settings=settings, presenter=presenter, options=options, request=request
    )


def rollback(
    release: str | None,
    *,
    settings: OpsSettings,
    presenter: Listener,
    options: Options = AS_USUAL,
    request: str | None = None,
) -> Outcome:
    """Go back to a release whose image was kept (None: the newest stable one that differs).

    Needs Docker and the edge; without Postgres it is recorded in the journal.
    """
    return _carry_out(
        "rollback",
        release,
        settings=settings,
        presenter=presenter,
        options=options,
        request=request,
    )


def recover(*, settings: OpsSettings, presenter: Listener) -> list[tuple[Story, Outcome]]:
    """Undo or finish what killed deployments left, and bring the history up to date.

    Raises:
        Refused: what runs was deployed from another checkout.
        OpsError: somebody deploys, something could not be taken back, or it was cancelled between
            two deployments.
    """
    who = Requester.now(settings)
    with (
        cancellable(next="manage.py recover   # goes on"),
        deploy_lock(settings.state_dir, holder=f"{who.by} recovers", what="recovery"),
    ):
        one_checkout.require_it(settings, Engine(settings.project))
        done = recovery.recover(settings, by="recover", presenter=lambda: presenter)
        recovery.bring_history_up_to_date(settings)
    return done


def _carry_out(
    kind: str,
    ref: str | None,
    *,
    settings: OpsSettings,
    presenter: Listener,
    options: Options,
    request: str | None,
) -> Outcome:
    if request is not None:
        options = AS_USUAL  # What is asked for in the admin has none.
    default = settings.branch if kind == "deploy" else "the newest stable release"
    asked = {
        "kind": kind,
        # A shell passes on bytes that no terminal, journal or database takes.
        "ref": default if ref is None else printable(ref),
        **Requester.now(settings).as_fields(),
    }
    begun = monotonic()
    # Whatever was given as a request's: it becomes part of a file's name.
    uid = request if request and journal.is_uid(request) else journal.new_uid()
    recorder = Recorder(settings.state_dir, Story(uid))
    outcome: Outcome | None = None
    try:
        if kind == "deploy":
            require_right_variables(again="manage.py deploy")
        with ExitStack() as stack:
            # Until its first step begins there is nothing to undo.
            stack.enter_context(cancellable(next=AGAIN))
            who = f"{asked['requested_by']} {_verb(kind)} {asked['ref']}"
            stack.enter_context(
                deploy_lock(settings.state_dir, holder=who, uid=uid, what=NOUNS[kind])
            )
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-")))
            context = Deploy(
                settings=settings,
                uid=uid,
                kind=kind,
                options=options,
                ref=ref,
                requested=request is not None,
                engine=Engine(settings.project),
                edge=Edge(settings.edge_dir),
                checkout=Checkout(
                    settings.checkout, remote=settings.remote, branch=settings.branch
                ),
                say=lambda line: None,
                scratch=scratch,
            )
            one_checkout.require_it(settings, context.engine, adopt=options.adopt_checkout)
            _put_in_order(context)
            override = ""
            if kind == "deploy":
                _wake_postgres(context)
            if request is not None:
                row = requests.require_waiting(request, kind=kind, settings=settings)
                context.ref = row.ref or None
                asked |= {
                    "ref": row.ref or default,
                    "requested_by": through_the_site(row.requested_by),
                    "requested_from": printable(row.requested_from),
                }
            if kind == "deploy":
                override = freezes.require_not_frozen(
                    options.override, state_dir=settings.state_dir
                )
            recovery.bring_history_up_to_date(settings)
            recorder.begin(**asked, options=asdict(options), override=override)
            steps = pipeline.steps_of(kind, maintenance=options.maintenance)
            outcome = Runner(context, steps, recorder, presenter).run(asked["ref"])
    except OpsError as error:
        if outcome is not None:
            return outcome  # A signal came when all was done and said.
        Redactor.from_environment().clean_error(error)
        error.traffic = error.traffic or "Nothing was done; traffic is as it was."
        status = "interrupted" if isinstance(error, Cancelled) else "failed"
        outcome = Outcome(status, error.exit_code, monotonic() - begun, error=error)
        # One that was asked for waits on when another one runs.
        if isinstance(error, Frozen) or (isinstance(error, Busy) and not request):
            _record_refusal(recorder, asked, options, outcome)
        elif recorder.story.started_at:
            recorder.ended(outcome)
        presenter.started(recorder.number, asked["ref"])
        outcome = replace(outcome, deployment=recorder.number)
        presenter.ended(outcome)
    return outcome


def _put_in_order(context: Deploy) -> None:
    try:
        recovery.recover(
            context.settings,
            by=f"the next {context.kind}",
            presenter=Listener,
            finish=context.kind == "deploy",
        )
    except StepFailed as error:
        if context.kind == "deploy":
            raise
        # The way back must not wait for that.
        context.warnings.append(f"{error.found} Next: {error.next}")


def _verb(kind: str) -> str:
    return "deploys" if kind == "deploy" else "rolls back to"


def _wake_postgres(context: Deploy) -> None:
    """The roles and the history's tables; on an empty server Postgres is brought up for them."""
    try:
        _prepare(context)
        return
    except DATABASE_PROBLEMS:
        pass
    try:
        context.compose().ensure(["postgres"], say=context.say)
        _prepare(context)
    except OpsError as error:
        raise StepFailed(
            "Postgres does not answer and could not be started, so nothing can be recorded.",
            output=error.output,
            next="docker compose ps --all postgres   # then: docker compose logs postgres",
        ) from error
    except DATABASE_PROBLEMS as error:
        raise StepFailed(
            f"Postgres runs and does not let us in: {str(error).strip()}",
            next="compare POSTGRES_* in .env with what the database was created with",
        ) from error


def _prepare(context: Deploy) -> None:
    make_roles(context.settings, site.POSTGRES_LOGINS, say=context.say)
    history.prepare()
    if owner_alias() == "default":
        # The first time this process is still the superuser, and so is the owner of what it made.
        make_roles(context.settings, site.POSTGRES_LOGINS, say=context.say)


def _record_refusal(
    recorder: Recorder, asked: dict[str, str], options: Options, outcome: Outcome
) -> None:
    try:
        recorder.begin(**asked, options=asdict(options))
        recorder.ended(outcome)
    except OpsError:
        return  # Nothing was done; that it was refused is said on the terminal.
