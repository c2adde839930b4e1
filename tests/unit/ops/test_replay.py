"""A deployment on a server, shown here from its events as it would be there."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.dotenv import Changes
from apps.ops.errors import OpsError
from apps.ops.presenters.jsonl import JsonLines
from apps.ops.presenters.lines import Lines
from apps.ops.presenters.replay import Pausable, replay
from apps.ops.source import Commit

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COMMIT = Commit("b" * 40, "Ada", NOW, "Say hello")
ERROR = OpsError(
    "It broke.", traffic="It is as it was.", next="deploy again", output="why\nand how"
)


def tell(listener: Listener) -> None:
    listener.started(7, "main")
    for environment in (Changes(("NEW",), (), ("KEY", "URL")), Changes((), (), ()), None):
        listener.planned(
            Plan(
                *(COMMIT, Color.BLUE, "a" * 40),
                commits=[COMMIT],
                commits_total=1,
                environment=environment,
            )
        )
    listener.step_started("fetch", 0)
    listener.line("fetching")
    listener.step_succeeded("fetch", "fetched", 1.0)
    listener.step_failed("build", ERROR, 2.0)
    listener.step_undone("build")
    listener.swapped(NOW)
    listener.warned("careful")
    listener.ended(Outcome("failed", 1, 3.0, 7, ERROR, ["careful"], NOW, NOW, None))


def without_times(text: str) -> str:
    return re.sub(r"^\d\d:\d\d:\d\d ", "", text, flags=re.MULTILINE)


def test_what_is_shown_here_is_what_would_be_shown_there() -> None:
    there, sent, here = io.StringIO(), io.StringIO(), io.StringIO()
    tell(Lines(there, verbosity=2))
    tell(JsonLines(sent))
    listener = Lines(here, verbosity=2)
    assert all(replay(line, listener) for line in sent.getvalue().splitlines())
    assert without_times(here.getvalue()) == without_times(there.getvalue())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        "null",
        "[]",
        "{}",
        '{"event": "from the future"}',
        '{"event": "started"}',
        '{"event": ["started"]}',
        '{"event": "swapped", "at": "soon"}',
        '{"event": "planned", "release": "b"}',
    ],
)
def test_what_is_no_event_is_left_to_be_shown_as_it_is(line: str) -> None:
    assert not replay(line, Listener())


def test_a_plan_without_its_author_has_it_from_the_commits() -> None:
    sent, told = io.StringIO(), list[Any]()
    JsonLines(sent).planned(Plan(COMMIT, Color.GREEN, "", commits=[COMMIT], commits_total=1))
    event = json.loads(sent.getvalue())
    event.pop("author", None)

    class Told(Listener):
        def planned(self, plan: Plan) -> None:
            told.append(plan)

    assert replay(json.dumps(event), Told())
    assert told[0].commit.author == "Ada"


def test_live_progress_steps_aside_and_comes_back() -> None:
    terminal = Pausable(io.StringIO())
    assert not terminal.pause()
    terminal.started(7, "main")
    assert terminal.pause()
    assert not terminal.pause()
    terminal.resume()
    assert terminal.pause()
