"""What a killed deployment left behind: undone when it had not moved the traffic, else finished.

Who gets the traffic is asked of the edge; what was done, of the journal. Everything here can be
killed and begun again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from django.db import DatabaseError

from apps.ops.conf import OpsSettings
from apps.ops.deploys import history, journal, pipeline
from apps.ops.deploys.context import Deploy, Options
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.story import Story
from apps.ops.edge.files import Edge
from apps.ops.edge.probe import ask
from apps.ops.errors import StepFailed
from apps.ops.models import Deployment
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine

WORKER = "django-q"
LIVE = (0, 6)
# A newer release can have written others, too.
OPTIONS = {field.name for field in fields(Options)}


def left_behind(settings: OpsSettings) -> list[Story]:
    """Deployments whose process ended without a word, or could not undo all; the oldest first."""
    stories = [s for s in journal.stories(settings.state_dir) if s.started_at]
    # What went live since has taken the place of what an older one could not take back.
    live_since = max(
        (s.uid for s in stories if s.ended and s.ended["exit_code"] in LIVE), default=""
    )
    return [s for s in stories if s.unfinished and not (s.ended and s.uid < live_since)][::-1]


def recover(
    settings: OpsSettings, *, by: str, presenter: Callable[[], Listener], finish: bool = True
) -> list[tuple[Story, Outcome]]:
    """Undo or finish all that was left behind. Only for the holder of the deploy lock.

    Args:
        by: what does it ("the next deployment"), for the history.
        finish: whether one that has moved the traffic is finished; a rollback only closes it.

    Raises:
        StepFailed: something could not be taken back; the next call tries again.
    """
    done = []
    for story in left_behind(settings):
        # A rollback has no bake: finishing it takes no time.
        finishes = finish or story.kind == Deployment.Kind.ROLLBACK
        outcome = _recover(story, settings, by=by, presenter=presenter(), finish=finishes)
        done.append((story, outcome))
        if any(step.undo == "failed" for step in story.steps.values()):
            raise StepFailed(
                f"What deployment {story.uid} left could not all be taken back: "
                f"{'; '.join(outcome.warnings)}",
                next="manage.py recover   # tries again, when the cause is fixed",
            )
    return done


def describe(story: Story, settings: OpsSettings) -> str:
    """What was left, and what recovering it would do."""
    who = f"{story.kind} {story.ref} of {story.requested_by}, begun {story.started_at[:19]} UTC"
    if story.ended:
        steps = ", ".join(step.name for step in story.steps.values() if step.undo == "failed")
        return f"{who}, could not take back what it had done in {steps}: that is tried again."
    where = story.running_step or "between two steps"
    plan = story.to_plan()
    moved = plan is not None and _has_swapped(story, Edge(settings.edge_dir))
    act = "had moved the traffic: it is finished" if moved else "had not moved the traffic: undone"
    return f"{who}, ended without a word in {where}; it {act}."


def _recover(
    story: Story, settings: OpsSettings, *, by: str, presenter: Listener, finish: bool
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="recover-") as scratch:
        context = Deploy(
            settings=settings,
            uid=story.uid,
            kind=story.kind,
            resumed=True,
            options=Options(**{k: v for k, v in story.options.items() if k in OPTIONS}),
            ref=story.ref,
            engine=Engine(settings.project),
            edge=Edge(settings.edge_dir),
            checkout=Checkout(settings.checkout, remote=settings.remote, branch=settings.branch),
            say=lambda line: None,
            scratch=Path(scratch),
            warnings=list(story.warnings),
            intents=dict(story.intents),
            bake=dict(story.bake),
        )
        _clear_the_way(context)
        if plan := story.to_plan():
            context.plan = plan
            _read_the_edge(context, story)
        recorder = Recorder(settings.state_dir, story)
        steps = pipeline.steps_of(story.kind, maintenance=context.options.maintenance)
        return Runner(context, steps, recorder, presenter).resume(finish=finish, by=by)


def _clear_the_way(context: Deploy) -> None:
    """End what still runs in its name, and what a killed Compose left half made."""
    context.engine.remove_one_offs(context.uid)
    context.engine.remove_readers()
    for service in ("django-a", "django-b", WORKER):
        context.engine.remove_strays(service)


def _read_the_edge(context: Deploy, story: Story) -> None:
    plan = context.plan
    if not _has_swapped(story, context.edge):
        # Moved back already, if it ever moved.
        if story.swapped_at:
            context.swapped_at = datetime.fromisoformat(story.swapped_at)
            context.moved_back = True
        return
    context.swapped_at = (
        datetime.fromisoformat(story.swapped_at) if story.swapped_at else datetime.now(UTC)
    )
    if (context.intended("bake") or {}).get("moving_back"):
        # Its bake had found it worse, and was killed before it could act on that.
        old = context.engine.service(plan.live.service)
        address = f"{old.address}:8000" if old and old.running else ""
        if address and ask(address, "/health/ready", host=context.settings.site_host).status == 200:
            context.edge.point_to(plan.live)
            context.moved_back = True


def _has_swapped(story: Story, edge: Edge) -> bool:
    plan = story.to_plan()
    return plan is not None and "swap" in story.intents and edge.live() is plan.candidate


def bring_history_up_to_date(settings: OpsSettings) -> int:
    """Write what the history lacks, from the journal. Only for the holder of the deploy lock.

    Returns:
        How many deployments it was; 0 also when Postgres is away.
    """
    brought = 0
    with suppress(DatabaseError):
        brought = history.bring_in(list(journal.stories(settings.state_dir)))
        history.close_interrupted()
    with suppress(OSError):
        journal.prune(settings.state_dir)
    return brought
