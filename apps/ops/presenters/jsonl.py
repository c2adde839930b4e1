"""One JSON object a line, one line an event: for machines."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.errors import OpsError
from apps.ops.output import Output


class JsonLines(Listener):
    def __init__(self, out: TextIO) -> None:
        self._out = Output(out)

    def started(self, deployment: int | None, ref: str) -> None:
        self._write("started", deployment=deployment, ref=ref)

    def planned(self, plan: Plan) -> None:
        self._write("planned", **plan_as_json(plan))

    def step_started(self, name: str, position: int) -> None:
        self._write("step_started", step=name, position=position)

    def line(self, text: str) -> None:
        self._write("line", text=text)

    def noted(self, text: str) -> None:
        self._write("noted", text=text)

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._write("step_succeeded", step=name, summary=summary, seconds=round(seconds, 3))

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        self._write("step_failed", step=name, found=error.found, seconds=round(seconds, 3))

    def step_undone(self, name: str) -> None:
        self._write("step_undone", step=name)

    def swapped(self, at: datetime) -> None:
        self._write("swapped", at=at.isoformat())

    def warned(self, warning: str) -> None:
        self._write("warned", warning=warning)

    def ended(self, outcome: Outcome) -> None:
        error = outcome.error
        self._write(
            "ended",
            status=outcome.status,
            exit_code=outcome.exit_code,
            seconds=round(outcome.seconds, 3),
            deployment=outcome.deployment,
            warnings=list(outcome.warnings),
            ready_at=_iso(outcome.ready_at),
            swapped_at=_iso(outcome.swapped_at),
            drained_at=_iso(outcome.drained_at),
            error=error
            and {
                "found": error.found,
                "traffic": error.traffic,
                "next": error.next,
                "output": error.output,
            },
        )

    def _write(self, event: str, **fields: Any) -> None:
        record = {"event": event, "time": datetime.now(UTC).isoformat(), **fields}
        self._out.json(record)
        self._out.flush()


def plan_as_json(plan: Plan) -> dict[str, Any]:
    return {
        "release": plan.commit.sha,
        "author": plan.commit.author,
        "subject": plan.commit.subject,
        "live": plan.live.value,
        "live_release": plan.live_release,
        "candidate": plan.candidate.value,
        "image_exists": plan.image_exists,
        "environment": None if plan.environment is None else asdict(plan.environment),
        "commits_total": plan.commits_total,
        "commits": [{"sha": c.sha, "author": c.author, "subject": c.subject} for c in plan.commits],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
