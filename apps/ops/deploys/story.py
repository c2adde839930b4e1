"""What is known about one deployment, put together from what was said about it, line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apps.ops.colors import Color
from apps.ops.deploys.plan import Plan
from apps.ops.source import Commit

Record = dict[str, Any]


@dataclass
class StepStory:
    """`status` is a `Step.Status`; `undo` is "failed" when it has to be tried again."""

    name: str
    position: int
    status: str
    started_at: str
    finished_at: str | None = None
    summary: str = ""
    output: str = ""
    undo: str = ""


@dataclass
class Story:
    """A deployment as its journal tells it. Times are ISO 8601, in UTC."""

    uid: str
    kind: str = "deploy"
    ref: str = ""
    requested_by: str = ""
    requested_from: str = ""
    override: str = ""
    options: dict[str, bool] = field(default_factory=dict)
    started_at: str = ""
    plan: dict[str, Any] | None = None
    image: str = ""
    packages: dict[str, Any] | None = None
    steps: dict[str, StepStory] = field(default_factory=dict)
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    bake: dict[str, Any] = field(default_factory=dict)
    swapped_at: str | None = None
    warnings: list[str] = field(default_factory=list)
    ended: Record | None = None

    @property
    def unfinished(self) -> bool:
        """Its process ended without a word, or could not take back all that it had done."""
        return self.ended is None or any(step.undo == "failed" for step in self.steps.values())

    @property
    def running_step(self) -> str:
        return next((s.name for s in self.steps.values() if s.status == "running"), "")

    def to_plan(self) -> Plan | None:
        if self.plan is None:
            return None
        commits = [_commit(commit) for commit in self.plan["commits"]]
        return Plan(
            commit=_commit(self.plan["commit"]),
            live=Color(self.plan["live"]),
            live_release=self.plan["live_release"],
            commits=commits,
            commits_total=self.plan["commits_total"],
        )

    def apply(self, record: Record) -> None:
        """Add what one line of the journal says; a line of a kind that is not known adds nothing,
        because a newer release can have written it."""
        act = getattr(self, f"_{record.get('event')}", None)
        if act is not None:
            act(record)

    def _begun(self, record: Record) -> None:
        for name in ("kind", "ref", "requested_by", "requested_from", "override", "options"):
            setattr(self, name, record[name])
        self.started_at = record["time"]

    def _planned(self, record: Record) -> None:
        self.plan = record["plan"]

    def _built(self, record: Record) -> None:
        self.image = record["image"]
        self.packages = record.get("packages")

    def _step_started(self, record: Record) -> None:
        name = record["step"]
        self.steps[name] = StepStory(name, record["position"], "running", record["time"])

    def _intended(self, record: Record) -> None:
        self.intents[record["step"]] = record["facts"]

    def _step_ended(self, record: Record) -> None:
        step = self.steps[record["step"]]
        step.status, step.finished_at = record["status"], record["time"]
        step.summary, step.output = record["summary"], record["output"]

    def _step_undone(self, record: Record) -> None:
        # Missing when a signal came between the line that it starts and its being noted here.
        if step := self.steps.get(record["step"]):
            step.undo = ""
            if step.status == "succeeded":
                step.status = "undone"

    def _undo_failed(self, record: Record) -> None:
        if step := self.steps.get(record["step"]):
            step.undo = "failed"

    def _swapped(self, record: Record) -> None:
        self.swapped_at = record["at"]

    def _baked(self, record: Record) -> None:
        self.bake = record["figures"]

    def _warned(self, record: Record) -> None:
        self.warnings.append(record["warning"])

    def _ended(self, record: Record) -> None:
        self.ended = record
        for step in self.steps.values():
            if step.status == "running":
                step.status, step.finished_at = "failed", record["time"]
                step.summary = step.summary or "its process ended without a word"


def plan_as_record(plan: Plan) -> dict[str, Any]:
    return {
        "commit": _as_json(plan.commit),
        "live": plan.live.value,
        "live_release": plan.live_release,
        "candidate": plan.candidate.value,
        "commits": [_as_json(commit) for commit in plan.commits],
        "commits_total": plan.commits_total,
    }


def _as_json(commit: Commit) -> dict[str, str]:
    return {
        "sha": commit.sha,
        "author": commit.author,
        "subject": commit.subject[:200],
        "committed_at": commit.committed_at.isoformat(),
    }


def _commit(said: dict[str, str]) -> Commit:
    committed_at = datetime.fromisoformat(said["committed_at"])
    return Commit(said["sha"], said["author"], committed_at, said["subject"])
