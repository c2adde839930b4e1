"""Deployments, rollbacks and recoveries that are killed at any point, in any order.

The runner, the journal, the recovery and the edge are real; the steps act on a world of three
containers in memory. A kill is a `Killed` raised at the n-th line of the journal or the n-th act,
before or after it, or in the middle of the line; from then on the dead process does nothing more.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deploys import journal, recorder, recovery
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Listener
from apps.ops.deploys.journal import Journal
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.story import Record, Story
from apps.ops.edge.files import Edge
from apps.ops.errors import StepFailed, SwappedBack
from apps.ops.models import Deployment
from apps.ops.source import Commit

GOOD, FAILS_TO_START, WORSE = "good", "fails to start", "worse"
FIRST = "0 good"
# More points than any one operation has.
POINTS = 90


class Killed(BaseException):
    """kill -9. Nothing in the code under test may catch it."""


@dataclass
class World:
    """What is there when no process of ours runs. `killed_at` counts points until the next kill."""

    colors: dict[Color, str]
    worker: str
    baked: set[str]
    keep_standby: bool = True
    killed_at: int | None = None
    torn: bool = False
    dead: bool = False
    undo_fails: bool = False
    # In the order in which their rows became terminal, per deployment.
    rows: dict[str, list[str]] = field(default_factory=dict)

    def point(self) -> None:
        if self.killed_at == 0:
            self.dead = True
        if self.dead:
            raise Killed
        if self.killed_at is not None:
            self.killed_at -= 1

    def act(self, change: Callable[[], object]) -> None:
        self.point()
        change()
        self.point()


class WorldStep(Step):
    def __init__(self, world: World) -> None:
        self.world = world

    def put(self, color: Color, release: str) -> None:
        self.world.act(lambda: self.world.colors.update({color: release}))

    def put_worker(self, release: str) -> None:
        self.world.act(lambda: setattr(self.world, "worker", release))


class Choose(WorldStep):
    name = "choose"

    def run(self, deploy: Deploy) -> str:
        live = deploy.edge.live()
        commit = Commit(deploy.ref or "", "", datetime.now(UTC), "")
        deploy.plan = Plan(commit, live, self.world.colors[live])
        return ""


class Start(WorldStep):
    name = "start"

    def run(self, deploy: Deploy) -> str:
        candidate, release = deploy.plan.candidate, deploy.plan.commit.sha
        deploy.intend("start", release=self.world.colors[candidate])
        self.put(candidate, release)
        if release.endswith(FAILS_TO_START):
            raise StepFailed("It is not ready.")
        return ""

    def undo(self, deploy: Deploy) -> bool:
        before = deploy.intended("start")
        if before is None or self.world.colors[deploy.plan.candidate] == before["release"]:
            return False
        assert deploy.edge.live() is not deploy.plan.candidate, "it has the traffic"
        if self.world.undo_fails:
            raise StepFailed("Compose failed.")
        self.put(deploy.plan.candidate, before["release"])
        return True


class Workers(WorldStep):
    name = "workers"

    def run(self, deploy: Deploy) -> str:
        if deploy.intended("workers") is None:
            deploy.intend("workers", release=self.world.worker)
        self.put_worker(deploy.plan.commit.sha)
        return ""

    def undo(self, deploy: Deploy) -> bool:
        before = deploy.intended("workers")
        if before is None:
            return False
        self.put_worker(before["release"])
        return True


class WorkersAfter(Workers):
    after_swap = True


class Swap(WorldStep):
    name = "swap"

    def run(self, deploy: Deploy) -> str:
        deploy.intend("swap", to=deploy.plan.candidate.value)
        deploy.swapped_at = datetime.now(UTC)
        deploy.edge.point_to(deploy.plan.candidate)
        return ""


class Bake(WorldStep):
    name = "bake"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        self.world.point()
        if deploy.intended("bake"):
            return "it was judged before, and too few requests come to judge it again"
        if deploy.plan.commit.sha.endswith(WORSE):
            deploy.intend("bake", moving_back=True)
            deploy.edge.point_to(deploy.plan.live)
            deploy.moved_back = True
            raise SwappedBack("It did worse.")
        self.world.baked.add(deploy.plan.commit.sha)
        return ""


class Retire(WorldStep):
    name = "retire"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        if not self.world.keep_standby:
            self.put(deploy.plan.live, "")
        return ""


class Prune(WorldStep):
    name = "prune"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        self.world.act(lambda: journal.prune(deploy.settings.state_dir))
        return ""


class Killing:
    """One world in a directory of its own, with the code under test's ways out led into it."""

    world: ClassVar[World]

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        append, point_to = Journal.append, Edge.point_to

        def append_or_die(book: Journal, record: Record) -> None:
            world = self.world
            if world.killed_at == 0 and world.torn and not world.dead:
                os.write(book._open(), b'{"event": "inten')
            world.act(lambda: append(book, record))

        def point_to_or_die(edge: Edge, color: Color) -> None:
            self.world.act(lambda: point_to(edge, color))

        patch.setattr(Journal, "append", append_or_die)
        patch.setattr(Edge, "point_to", point_to_or_die)
        # A kill, not a power cut: what was written is there.
        patch.setattr("os.fsync", lambda descriptor: None)
        patch.setattr("os.fdatasync", lambda descriptor: None)
        patch.setattr(recorder, "Writer", lambda: self)
        ready = SimpleNamespace(status=200)
        patch.setattr(recovery, "ask", lambda address, path, host: ready)
        patch.setattr(recovery, "Engine", lambda project: self)
        patch.setattr(
            "apps.ops.deploys.pipeline.steps_of",
            lambda kind, maintenance: steps_of(kind, self.world),
        )

    # As a history.Writer:
    number = None
    behind = False

    def write(self, story: Story, *, patience: float = 0.0) -> None:
        self.world.point()
        if story.ended:
            said = self.world.rows.setdefault(story.uid, [])
            if not said or said[-1] != story.ended["status"]:
                said.append(story.ended["status"])

    # As an Engine:
    def service(self, name: str) -> Any:
        color = next(color for color in Color if color.service == name)
        release = self.world.colors[color]
        return SimpleNamespace(release=release, running=True, address="old") if release else None

    def remove_readers(self) -> None:
        pass

    def remove_one_offs(self, uid: str) -> None:
        self.world.point()

    def remove_strays(self, service: str) -> None:
        self.world.point()


def steps_of(kind: str, world: World) -> tuple[Step, ...]:
    if kind == "rollback":
        return Choose(world), Start(world), Swap(world), WorkersAfter(world), Retire(world)
    order = (Choose, Start, Workers, Swap, Bake, Retire, Prune)
    return tuple(step(world) for step in order)


class Crashes(RuleBasedStateMachine):
    killing: ClassVar[Killing]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="crashes-"))
        self.settings = OpsSettings(
            state_dir=self.directory / "state", edge_dir=self.directory / "edge"
        )
        self.edge = Edge(self.settings.edge_dir)
        self.world = self.killing.world = World(
            {Color.BLUE: FIRST, Color.GREEN: ""}, FIRST, {FIRST}
        )
        self.count = 0
        # Went live, and a rollback closed them without their bake.
        self.closed: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    points = st.none() | st.integers(0, POINTS)

    @rule(
        kind=st.sampled_from([GOOD, GOOD, FAILS_TO_START, WORSE]),
        killed_at=points,
        torn=st.booleans(),
        keep_standby=st.booleans(),
        undo_fails=st.booleans(),
    )
    def deploy(
        self, kind: str, killed_at: int | None, torn: bool, keep_standby: bool, undo_fails: bool
    ) -> None:
        self.count += 1
        self.world.keep_standby = keep_standby
        self.process(
            lambda: self.carry_out("deploy", f"{self.count} {kind}", undo_fails), killed_at, torn
        )

    @precondition(lambda self: self.way_back())
    @rule(killed_at=points, torn=st.booleans())
    def rollback(self, killed_at: int | None, torn: bool) -> None:
        release = self.way_back()[0]
        self.process(lambda: self.carry_out("rollback", release), killed_at, torn)

    @rule(killed_at=points, torn=st.booleans(), undo_fails=st.booleans())
    def recover(self, killed_at: int | None, torn: bool, undo_fails: bool) -> None:
        def act() -> None:
            self.world.undo_fails = undo_fails
            try:
                recovery.recover(self.settings, by="recover", presenter=Listener)
            except StepFailed:
                assert undo_fails, "it could be taken back, and was not"
            else:
                self.assert_whole()

        self.process(act, killed_at, torn)

    def carry_out(self, kind: str, ref: str, undo_fails: bool = False) -> None:
        """As operations does, without Postgres."""
        swapped = [s.plan for s in recovery.left_behind(self.settings) if s.plan]
        if kind == "rollback":
            live = self.world.colors[self.edge.live()]
            self.closed |= {live} & {plan["commit"]["sha"] for plan in swapped}
        recovery.recover(self.settings, by="next", presenter=Listener, finish=kind == "deploy")
        self.assert_whole()
        if kind == "rollback" and ref == self.world.colors[self.edge.live()]:
            return
        self.world.undo_fails = undo_fails
        uid = f"20261123T{len(list(self.journals())):06}-000000"
        story = Story(uid)
        told = recorder.Recorder(self.settings.state_dir, story)
        told.begin(kind=kind, ref=ref, requested_by="ada", requested_from="here", options={})
        context = Deploy(
            settings=self.settings,
            uid=uid,
            kind=kind,
            ref=ref,
            engine=self.killing,  # type: ignore[arg-type]
            edge=self.edge,
            checkout=None,  # type: ignore[arg-type]
            say=lambda line: None,
            scratch=self.directory,
        )
        outcome = Runner(context, steps_of(kind, self.world), told, Listener()).run(ref)
        expected = {GOOD: "succeeded", FAILS_TO_START: "failed", WORSE: "rolled back"}
        if kind == "deploy":
            assert outcome.status == expected[ref.partition(" ")[2]]
        if not story.unfinished:
            self.assert_whole()

    def process(self, act: Callable[[], None], killed_at: int | None, torn: bool) -> None:
        """Run something as a process of its own, which is killed at a point, if it has so many."""
        self.world.killed_at, self.world.torn, self.world.dead = killed_at, torn, False
        self.world.undo_fails = False
        try:
            act()
        except Killed:
            assert self.world.dead

    def assert_whole(self) -> None:
        """What is so when a recovery or a deployment came to its end."""
        world, live = self.world, self.edge.live()
        assert not recovery.left_behind(self.settings)
        known = world.baked | self.closed
        assert world.colors[live] in known
        assert world.colors[live.other] in known | {""}
        if not self.closed:
            assert world.worker == world.colors[live]

    def way_back(self) -> list[str]:
        live = self.world.colors[self.edge.live()]
        return sorted((r for r in self.world.baked if r != live), reverse=True)

    def journals(self) -> list[Path]:
        return list((self.settings.state_dir / journal.DIRECTORY).glob("*.jsonl"))

    @invariant()
    def the_live_colour_runs_a_release_that_is_stable_or_being_baked(self) -> None:
        live = self.world.colors[self.edge.live()]
        baking = {s.plan["commit"]["sha"] for s in recovery.left_behind(self.settings) if s.plan}
        assert live in self.world.baked | self.closed | baking
        assert not live.endswith(FAILS_TO_START)

    @invariant()
    def a_deployment_ends_once_and_its_status_stays(self) -> None:
        for file in self.journals():
            assert file.read_bytes().count(b'{"event": "ended"') <= 1
            story = journal.read(file)
            if story.ended:
                assert story.ended["status"] in Deployment.TERMINAL
        for said in self.world.rows.values():
            assert len(said) == 1


def test_a_kill_at_any_point_of_anything_leaves_what_the_next_command_puts_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Crashes.killing = Killing(monkeypatch)

    run_state_machine_as_test(
        Crashes,
        settings=hypothesis_settings(stateful_step_count=12),
    )


@pytest.mark.parametrize("kind", [GOOD, FAILS_TO_START, WORSE])
def test_one_kill_at_each_point_of_a_deployment_is_recovered_from(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    Crashes.killing = Killing(monkeypatch)

    for point in range(POINTS):
        crashes = Crashes()
        crashes.process(lambda: crashes.carry_out("deploy", f"1 {kind}"), point, torn=False)  # noqa: B023
        crashes.process(
            lambda: recovery.recover(crashes.settings, by="recover", presenter=Listener) and None,  # noqa: B023
            None,
            torn=False,
        )
        crashes.assert_whole()
        crashes.teardown()
