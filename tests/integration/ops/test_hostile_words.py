"""What others wrote, in commits and in the database, is shown by commands and obeyed by nobody."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from apps.ops.conf import OpsSettings
from apps.ops.deploys.journal import new_uid
from apps.ops.freezes import FILE, Record
from apps.ops.health.result import Result, bad
from apps.ops.models import Check, Deployment, Release, Step
from apps.ops.output import Output
from apps.ops.presenters.logs import as_text, painted
from apps.ops.stack.log_reader import Line, Source
from tests.integration.ops.conftest import NEW, OLD

if TYPE_CHECKING:
    from tests.conftest import Git, OpsSettingsFactory

pytestmark = pytest.mark.django_db

# It clears the screen, sets the title, forges a line, turns text round, hides what follows, and is
# markup of rich's.
WORDS = "a\x1b[2J\x1b]0;t\x07\x9b31m\nforged\r\u202e\u200b[red]\x1b[8m b"
OUR_STYLES = re.compile(r"\x1b\[[0-9;]*m")
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]")


@pytest.fixture(autouse=True)
def ops(settings: Settings, ops_settings: OpsSettingsFactory) -> Any:
    settings.OPS = ops_settings(project=f"h-out-{secrets.token_hex(4)}")
    return settings.OPS


@pytest.fixture
def deployment() -> Deployment:
    now = timezone.now()
    release = Release.objects.create(sha=NEW, subject=WORDS, author=WORDS)
    row = Deployment.objects.create(
        status="failed",
        ref=WORDS,
        release=release,
        previous_release=Release.objects.create(sha=OLD, subject=WORDS),
        requested_by=WORDS,
        requested_from=WORDS,
        started_at=now,
        finished_at=now,
        exit_code=1,
        error=WORDS,
        traffic=WORDS,
        next=WORDS,
        warnings=[WORDS],
        override=WORDS,
        commits=[{"sha": NEW, "subject": WORDS, "author": WORDS}],
        commits_total=1,
        migrations=[{"app": "home", "name": WORDS, "sql": [WORDS]}],
        bake={WORDS: WORDS},
    )
    Step.objects.create(
        deployment=row,
        position=1,
        name=WORDS[:20],
        status="failed",
        started_at=now,
        summary=WORDS,
        output=WORDS,
    )
    return row


def run(capsys: pytest.CaptureFixture[str], *argv: str, **options: Any) -> str:
    """What a command writes, whatever its exit code."""
    with suppress(SystemExit):
        call_command(*argv, **options)
    said = capsys.readouterr()
    return said.out + said.err


def require_shown(said: str) -> None:
    left = OUR_STYLES.sub("", said)
    assert "\\x1b[2J" in left.replace("\n", "") or "\\u001b[2J" in left
    assert OBEYED.findall(left) == []
    assert not re.search(r"^\s*forged", left, re.MULTILINE)
    # Nothing of what hides or paints text is theirs.
    assert "\x1b[8m" not in said


@pytest.mark.parametrize("color", [True, False], ids=["terminal", "pipe"])
def test_the_history_is_shown(
    color: bool, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    require_shown(run(capsys, "history", force_color=color))


# It reads with a connection of its own.
@pytest.mark.django_db(transaction=True)
def test_the_status_is_shown(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    # A cell that is narrow has several lines, which begin with the table's own spaces.
    for color in (True, False):
        said = run(capsys, "status", force_color=color)
        require_shown(re.sub(r"^ +forged", "", said, flags=re.MULTILINE))
    said = run(capsys, "status", "--format", "json")
    assert OBEYED.findall(said) == []
    assert json.loads(said)["deployments"][0]["requested_by"] == WORDS


@pytest.mark.parametrize("color", [True, False], ids=["terminal", "pipe"])
def test_one_deployment_is_shown_with_its_own_lines_and_no_others(
    color: bool, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(capsys, "history", str(deployment.pk), force_color=color)

    # Errors, output and SQL have lines of their own.
    require_shown(re.sub(r"^ *forged", "", said, flags=re.MULTILINE))


@pytest.mark.parametrize("argv", [("history",), ("history", "PK")], ids=" ".join)
def test_json_has_every_character_and_shows_none(
    argv: tuple[str, ...], deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(deployment.pk) if word == "PK" else word for word in argv]
    said = run(capsys, *words, "--format", "json")

    assert OBEYED.findall(said) == []
    assert json.dumps(WORDS)[1:-1] in json.dumps(json.loads(said))


def test_a_refusal_by_a_freeze_is_shown(
    git: Git, capsys: pytest.CaptureFixture[str], ops: OpsSettings
) -> None:
    there = Record(new_uid(), WORDS, WORDS, datetime.now(UTC).isoformat())
    ops.state_dir.mkdir(parents=True, exist_ok=True)
    (ops.state_dir / FILE).write_text(json.dumps([asdict(there)]))

    require_shown(run(capsys, "freeze", "again"))
    require_shown(run(capsys, "deploy"))
    require_shown(run(capsys, "unfreeze"))


def test_a_plan_is_shown(git: Git, capsys: pytest.CaptureFixture[str]) -> None:
    words = WORDS.replace("\n", "")
    git.commit("again", {f"apps/home/migrations/0009_{words.replace('/', '')}.py": ""})
    git.run("commit", "--quiet", "--amend", "--author", f"{words} <a@b>", "--message", words)
    git.run("push", "--quiet", "origin", "HEAD")

    require_shown(run(capsys, "deploy", "--plan"))
    said = run(capsys, "deploy", "--plan", "--format", "json")
    assert OBEYED.findall(said) == []
    assert json.loads(said)["subject"] == words.strip()


def test_a_refused_ref_is_shown(git: Git, capsys: pytest.CaptureFixture[str]) -> None:
    require_shown(run(capsys, "deploy", "--plan", "x\x1b[2J\nforged\u202e"))
    require_shown(run(capsys, "deploy", "x\x1b[2J\nforged\u202e"))


def test_the_history_of_a_check_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    Check.objects.create(
        name="disk",
        status="bad",
        summary=WORDS,
        next=WORDS,
        since=now,
        first_seen=now,
        last_seen=now,
    )

    require_shown(run(capsys, "health_history", "disk"))


def hostile(settings: OpsSettings) -> Result:
    return bad(WORDS, next=WORDS)


def test_what_a_check_finds_is_shown(
    settings: Settings, ops_settings: OpsSettingsFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.OPS = ops_settings(health_checks=(f"{__name__}.hostile",))
    said = run(capsys, "check_health", "hostile", force_color=True)

    assert OBEYED.findall(OUR_STYLES.sub("", said)) == []
    assert not re.search(r"^\s*forged", said, re.MULTILINE)


@pytest.mark.parametrize("paint", [True, False])
def test_a_line_of_a_services_log_is_shown(paint: bool) -> None:
    line = Line("2026-11-23T12:00:00.000000000Z", Source("c", "django-a", None, True), WORDS)
    out = StringIO()
    Output(out).write(as_text(line), painted(line) if paint else None)

    require_shown(out.getvalue())
    assert out.getvalue().count("\n") == 1
