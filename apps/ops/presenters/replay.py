"""A deployment's events, as `--format json` wrote them on a server, told to a presenter here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from apps.ops.colors import Color
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.dotenv import Changes
from apps.ops.errors import OpsError
from apps.ops.presenters.console import Terminal
from apps.ops.source import Commit

# When a commit was made is not in the event, and not shown.
NOT_SAID = datetime.fromtimestamp(0, UTC)


class Pausable(Terminal):
    """Live progress that steps aside for a question."""

    def pause(self) -> bool:
        """Whether there was progress to hide."""
        shown = self._live.is_started
        self._live.stop()
        return shown

    def resume(self) -> None:
        self._live.start()


def replay(line: str, listener: Listener) -> bool:
    """Tell a listener what a line says; False when it is no event that is known here."""
    try:
        event = json.loads(line)
        _TELL[event.pop("event")](listener, event)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def exit_code(line: bytes) -> int | None:
    """The exit code that an event tells; None when it is not the last one."""
    try:
        event = json.loads(line)
        return int(event["exit_code"]) if event["event"] == "ended" else None
    except (KeyError, TypeError, ValueError):
        return None


def _planned(listener: Listener, event: Mapping[str, Any]) -> None:
    commits = [
        Commit(one["sha"], one["author"], NOT_SAID, one["subject"]) for one in event["commits"]
    ]
    authors = {commit.sha: commit.author for commit in commits}
    author = event.get("author") or authors.get(event["release"], "?")
    environment = event.get("environment")
    listener.planned(
        Plan(
            Commit(event["release"], author, NOT_SAID, event["subject"]),
            Color(event["live"]),
            event["live_release"],
            commits=commits,
            commits_total=event["commits_total"],
            image_exists=event["image_exists"],
            environment=environment
            and Changes(**{kind: tuple(names) for kind, names in environment.items()}),
        )
    )


def _step_failed(listener: Listener, event: Mapping[str, Any]) -> None:
    listener.step_failed(event["step"], OpsError(event["found"]), event["seconds"])


def _ended(listener: Listener, event: Mapping[str, Any]) -> None:
    error = event["error"]
    listener.ended(
        Outcome(
            status=event["status"],
            exit_code=event["exit_code"],
            seconds=event["seconds"],
            deployment=event["deployment"],
            warnings=event["warnings"],
            error=error
            and OpsError(
                error["found"],
                traffic=error["traffic"],
                next=error["next"],
                output=error["output"],
            ),
            ready_at=_moment(event["ready_at"]),
            swapped_at=_moment(event["swapped_at"]),
            drained_at=_moment(event["drained_at"]),
        )
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


_TELL: Mapping[str, Callable[[Listener, Mapping[str, Any]], None]] = {
    "started": lambda to, e: to.started(e["deployment"], e["ref"]),
    "planned": _planned,
    "step_started": lambda to, e: to.step_started(e["step"], e["position"]),
    "line": lambda to, e: to.line(e["text"]),
    "noted": lambda to, e: to.noted(e["text"]),
    "step_succeeded": lambda to, e: to.step_succeeded(e["step"], e["summary"], e["seconds"]),
    "step_failed": _step_failed,
    "step_undone": lambda to, e: to.step_undone(e["step"]),
    "swapped": lambda to, e: to.swapped(datetime.fromisoformat(e["at"])),
    "warned": lambda to, e: to.warned(e["warning"]),
    "ended": _ended,
}
