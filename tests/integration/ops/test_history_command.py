"""`history`, from a real Postgres that is also away."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.ops.models import Deployment, Release, Step
from tests.integration.ops.conftest import NEW, OLD

if TYPE_CHECKING:
    from tests.servers import PostgresServer

db = pytest.mark.django_db


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = 0
    try:
        call_command("history", *argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def entry(**changes: Any) -> Deployment:
    now = timezone.now()
    release, _ = Release.objects.get_or_create(sha=NEW, defaults={"subject": "Say [hello]"})
    before, _ = Release.objects.get_or_create(sha=OLD, defaults={"subject": "Say nothing"})
    values = {
        "status": "succeeded",
        "ref": "main",
        "release": release,
        "previous_release": before,
        "requested_by": "ada",
        "requested_from": "192.0.2.7",
        "started_at": now - timedelta(seconds=12),
        "finished_at": now,
        "exit_code": 0,
    }
    return Deployment.objects.create(**{**values, **changes})


@pytest.fixture
def failed() -> Deployment:
    """One that left something of everything there is to leave."""
    row = entry(
        status="rolled back",
        exit_code=3,
        color="green",
        swapped_at=timezone.now(),
        error="10 % of the requests failed.\n\na \x1b[31mred line",
        traffic="Traffic was moved back: blue serves it as before.",
        next="manage.py status",
        warnings=["a [link] is broken"],
        override="freeze of grace: audit",
        commits=[{"sha": NEW, "subject": "Say [hello]", "author": "Ada"}],
        commits_total=3,
        migrations=[{"name": "home.0002", "verdict": "expand", "sql": ["ALTER TABLE", "x;"]}],
        bake={"errors": {"before": 0.0, "after": 0.1}},
    )
    at = timezone.now()
    for position, (name, status, output) in enumerate(
        [("fetch", "succeeded", "quiet"), ("bake", "failed", "the worst line")]
    ):
        Step.objects.create(
            deployment=row,
            position=position,
            name=name,
            status=status,
            started_at=at,
            finished_at=at + timedelta(seconds=2),
            summary=f"{name} it was",
            output=output,
        )
    return row


@db
def test_the_list_is_newest_first_and_as_long_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [entry(ref=f"v{number}") for number in range(3)]

    code, out, _ = run(capsys, "--limit", "2")

    assert code == 0
    assert out.index(f"{rows[2].pk} ") < out.index(f"{rows[1].pk} ")
    assert "v0" not in out
    assert "12.0 s" in out


@db
def test_the_list_tells_refusals_warnings_and_what_was_overruled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry(status="failed", exit_code=4)
    entry(exit_code=6, warnings=["one"], override="freeze")

    _, out, _ = run(capsys)

    assert "failed (busy)" in out
    assert "1 warning, overruled" in out


@db
def test_kind_and_status_choose(capsys: pytest.CaptureFixture[str]) -> None:
    entry(ref="v1")
    back = entry(ref="v2", kind="rollback", status="rolled back")

    for argv in (["--kind", "rollback"], ["--status", "rolled back"]):
        _, out, _ = run(capsys, *argv, "--format", "json")
        assert [row["id"] for row in json.loads(out)] == [back.pk]
    assert run(capsys, "--status", "queued")[1] == "No deployment that fits.\n"


@db
def test_one_deployment_is_shown_with_all_that_it_left(
    failed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, str(failed.pk))

    assert code == 0
    for said in (
        f"#{failed.pk}, deploy main",
        "rolled back",
        "Say [hello]",
        "ada from 192.0.2.7",
        "freeze of grace: audit",
        "10 % of the requests failed.",
        "Traffic was moved back",
        "Next: manage.py status",
        "! a [link] is broken",
        "fetch it was",
        "The last lines of bake:\n  the worst line",
        "Commits (3):",
        "and 2 more",
        "name: home.0002",
        "ALTER TABLE",
        "Bake (1):",
        "after: 0.1",
    ):
        assert said in out
    assert "\x1b" not in out
    assert "quiet" not in out


@db
def test_a_program_gets_the_same_as_json(
    failed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    row = json.loads(run(capsys, str(failed.pk), "--format", "json")[1])

    assert (row["id"], row["release"], row["previous_release"]) == (failed.pk, NEW, OLD)
    assert (row["bake"], row["migrations"]) == (failed.bake, failed.migrations)
    assert [(s["name"], s["status"]) for s in row["steps"]] == [
        ("fetch", "succeeded"),
        ("bake", "failed"),
    ]


@db
@pytest.mark.parametrize("number", ["7000000", "9" * 30, "0"])
def test_a_number_that_is_none_is_said(capsys: pytest.CaptureFixture[str], number: str) -> None:
    code, _, err = run(capsys, number)

    assert code == 1
    assert err == f"There is no deployment #{number}.\nNext: manage.py history\n"


def test_what_is_no_number_is_a_matter_of_usage() -> None:
    with pytest.raises(CommandError, match="invalid int value"):
        call_command("history", "main")


def test_without_postgres_the_journal_is_named(
    database: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    database.stop()

    code, _, err = run(capsys)

    assert code == 1
    assert err.startswith("Postgres does not answer as it should (")
    assert "/journal has the last deployments." in err
