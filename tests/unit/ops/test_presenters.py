from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.events import Everybody, Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.dotenv import Changes
from apps.ops.errors import OpsError, StepFailed
from apps.ops.presenters.console import Terminal
from apps.ops.presenters.jsonl import JsonLines
from apps.ops.presenters.lines import Lines
from apps.ops.presenters.words import headline, plan_facts
from apps.ops.source import Commit

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
COMMIT = Commit("3f2c9a17d04b5e86a1c7f0e2b94d6853c1aa77e0", "Ada", NOON, "Say [bold]hello[/]")
LIVE = "a" * 40
CHANGES = Changes(added=("NEW",), removed=("OLD", "OLDER"), changed=("KEY",))


def plan(**changes: Any) -> Plan:
    fields = {"commit": COMMIT, "live": Color.BLUE, "live_release": LIVE}
    return Plan(**{**fields, "commits": [COMMIT], "commits_total": 1, **changes})


def failure() -> OpsError:
    return StepFailed(
        "It [red]broke[/].", output="last [line]\nof it", next="fix it", traffic="Never moved."
    )


def play(listener: Listener, outcome: Outcome) -> None:
    """Every event there is, with text that a presenter could trip over."""
    listener.started(7, "main [/] \N{LINE SEPARATOR}")
    listener.planned(plan())
    listener.step_started("fetch", 1)
    listener.line('a "quoted" [line] with \x1b[31mcolour, \x00 and \N{LINE SEPARATOR}')
    listener.noted("ALTER TABLE [/]")
    listener.step_succeeded("fetch", "3f2c9a17d04b [/bold]", 1.25)
    listener.step_started("build", 2)
    listener.step_failed("build", failure(), 0.5)
    listener.step_undone("fetch")
    listener.warned("careful [/]")
    listener.swapped(NOON)
    listener.ended(outcome)


FAILED = Outcome("failed", 1, 12.345, 7, failure(), ["careful"], NOON, NOON, None)


def json_lines(outcome: Outcome = FAILED) -> list[dict[str, Any]]:
    out = io.StringIO()
    play(JsonLines(out), outcome)
    return [json.loads(line) for line in out.getvalue().removesuffix("\n").split("\n")]


def test_every_event_is_one_line_of_json() -> None:
    events = json_lines()

    assert [event["event"] for event in events] == [
        *("started", "planned", "step_started", "line", "noted", "step_succeeded", "step_started"),
        *("step_failed", "step_undone", "warned", "swapped", "ended"),
    ]
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)


def test_json_keeps_every_character_of_a_line() -> None:
    assert json_lines()[3]["text"] == (
        'a "quoted" [line] with \x1b[31mcolour, \x00 and \N{LINE SEPARATOR}'
    )


def test_json_tells_how_it_ended_and_when_what_happened() -> None:
    ended = json_lines()[-1]
    del ended["time"]

    assert ended == {
        "event": "ended",
        "status": "failed",
        "exit_code": 1,
        "seconds": 12.345,
        "deployment": 7,
        "warnings": ["careful"],
        "ready_at": NOON.isoformat(),
        "swapped_at": NOON.isoformat(),
        "drained_at": None,
        "error": {
            "found": "It [red]broke[/].",
            "traffic": "Never moved.",
            "next": "fix it",
            "output": "last [line]\nof it",
        },
    }


def test_json_of_a_plan_names_what_is_live_and_what_would_be() -> None:
    planned = json_lines()[1]

    assert planned["release"] == COMMIT.sha
    assert (planned["live"], planned["candidate"]) == ("blue", "green")
    assert planned["commits"] == [
        {"sha": COMMIT.sha, "author": "Ada", "subject": "Say [bold]hello[/]"}
    ]


def test_json_without_an_error_says_so() -> None:
    assert json_lines(Outcome("succeeded", 0, 1.0))[-1]["error"] is None


def lines(verbosity: int, outcome: Outcome = FAILED) -> list[str]:
    out = io.StringIO()
    play(Lines(out, verbosity=verbosity), outcome)
    return [line.partition(" ")[2] for line in out.getvalue().split("\n") if line]


def test_lines_tell_each_step_and_how_it_ended() -> None:
    assert lines(1) == [
        "deploy main [/] \\u2028 (deployment #7)",
        "release: 3f2c9a17d04b Say [bold]hello[/] (Ada)",
        "live: blue, release aaaaaaaaaaaa",
        "candidate: green (django-b)",
        "commits: 1",
        "fetch …",
        "  ALTER TABLE [/]",
        "fetch: 3f2c9a17d04b [/bold] (1.2 s)",
        "build …",
        "build: FAILED (0.5 s)",
        "fetch: undone",
        "warning: careful [/]",
        "Failed: deployment #7 after 12.3 s (exit code 1)",
        "  | last [line]",
        "  | of it",
        "It [red]broke[/].",
        "Never moved.",
        "Next: fix it",
    ]


def test_quiet_lines_tell_only_how_it_ended() -> None:
    assert lines(0)[0] == "Failed: deployment #7 after 12.3 s (exit code 1)"
    assert lines(0, Outcome("succeeded", 0, 2.0, 8)) == [
        "Live: deployment #8 after 2.0 s (exit code 0)"
    ]


def test_loud_lines_have_the_steps_output_too() -> None:
    assert len(lines(2)) == len(lines(1)) + 1


def terminal(outcome: Outcome = FAILED, *, color: bool = False) -> str:
    out = io.StringIO()
    play(Terminal(out, color=color), outcome)
    return out.getvalue()


def test_a_terminal_shows_the_same_and_takes_no_text_for_markup() -> None:
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal())

    for text in (
        "Deploying main [/]",
        "(deployment #7)",
        "Say [bold]hello[/] (Ada)",
        "✓ fetch      3f2c9a17d04b [/bold] 1.2 s",
        "✗ build      It [red]broke[/]. 0.5 s",
        "↶ fetch      undone",
        "! careful [/]",
        "│ last [line]",
        "Never moved.",
        "Next: fix it",
        "Failed: deployment #7 after 12.3 s (exit code 1)",
    ):
        assert text in shown


def test_a_terminal_that_wants_no_colours_gets_none() -> None:
    assert "\x1b[31m" not in terminal(color=False)
    assert "\x1b[31m" in terminal(Outcome("failed", 1, 1.0), color=True)


def test_a_terminal_gets_its_cursor_back() -> None:
    shown = terminal()

    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


@pytest.mark.parametrize(
    ("exit_code", "word"),
    [(0, "Live"), (1, "Failed"), (3, "Rolled back"), (4, "Busy"), (5, "Refused")]
    + [(6, "Live, with warnings"), (130, "Cancelled")],
)
def test_each_exit_code_has_its_word(exit_code: int, word: str) -> None:
    assert headline(Outcome("", exit_code, 1.0)) == f"{word}: after 1.0 s (exit code {exit_code})"


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"live_release": ""}, "live", "nothing yet"),
        ({"live_release": COMMIT.sha}, "commits", "none: this release is live already"),
        ({"commits": [], "commits_total": 0}, "commits", "none: it is older than what is live"),
        ({"commits_total": 250}, "commits", "250"),
        ({"live": Color.GREEN}, "candidate", "blue (django-a)"),
        ({"environment": CHANGES}, "environment", "added NEW; removed OLD, OLDER; changed KEY"),
        ({"environment": Changes((), (), ())}, "environment", "unchanged"),
    ],
)
def test_a_plan_says_what_there_is_to_know(changes: dict[str, Any], name: str, said: str) -> None:
    assert dict(plan_facts(plan(**changes)))[name] == said


def test_a_first_deployment_says_nothing_of_what_changed_in_the_environment() -> None:
    assert "environment" not in dict(plan_facts(plan(live_release="")))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (CHANGES, {"added": ["NEW"], "removed": ["OLD", "OLDER"], "changed": ["KEY"]}),
        (Changes((), (), ()), {"added": [], "removed": [], "changed": []}),
        (None, None),
    ],
)
def test_a_plan_in_json_has_the_names_that_changed(
    environment: Changes | None, said: dict[str, list[str]] | None
) -> None:
    out = io.StringIO()
    JsonLines(out).planned(plan(environment=environment))

    assert json.loads(out.getvalue())["environment"] == said


class Recorder(Listener):
    """Writes down what it hears, whatever events there are."""

    def __init__(self, name: str, heard: list[tuple[str, str, tuple[object, ...]]]) -> None:
        for event in EVENTS:
            setattr(self, event, lambda *given, e=event: heard.append((name, e, given)))


EVENTS = [name for name in vars(Listener) if not name.startswith("_")]


def test_everybody_hears_every_event_in_order_and_as_it_was_said() -> None:
    heard: list[tuple[str, str, tuple[object, ...]]] = []

    play(Everybody(Recorder("first", heard), Recorder("second", heard)), FAILED)

    assert {event for _, event, _ in heard} == set(EVENTS)
    assert [who for who, _, _ in heard] == ["first", "second"] * (len(heard) // 2)
    assert [said[1:] for said in heard[::2]] == [said[1:] for said in heard[1::2]]


def test_what_everybody_should_read_is_shown_whatever_the_verbosity_hides() -> None:
    out = io.StringIO()
    lines = Lines(out)

    lines.line("step 3 of 9")
    lines.noted("ALTER TABLE guest ADD COLUMN age integer")

    assert "ALTER TABLE" in out.getvalue()
    assert "step 3" not in out.getvalue()
