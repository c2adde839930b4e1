"""Freezes, on a state volume and in a real Postgres: what the commands say and refuse."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from apps.ops import freezes
from apps.ops.errors import Frozen, OpsError, Refused
from apps.ops.models import Freeze
from apps.ops.requester import through_the_site
from tests.integration.ops.conftest import Run
from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

db = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ops(settings: Settings, ops_settings: OpsSettingsFactory) -> Any:
    settings.OPS = ops_settings()
    return settings.OPS


def prepared(state_dir: Path) -> Path:
    state_dir.mkdir(parents=True, exist_ok=True)
    return state_dir


@db
def test_a_frozen_project_names_who_why_and_until_when(ops: Any, run: Run) -> None:
    code, out, _ = run("freeze", "Christmas  market", "--days", "2")

    assert code == 0
    assert re.search(r"frozen by ada since .*, until \d{4}-.* UTC: Christmas market\.", out)
    with pytest.raises(Frozen, match=r"frozen by ada since .*: Christmas market") as caught:
        freezes.require_not_frozen(False, state_dir=ops.state_dir)
    assert caught.value.exit_code == 4
    assert "manage.py deploy --override" in caught.value.next
    # The admin's copy.
    assert (Freeze.objects.get().reason, Freeze.objects.get().frozen_by) == (
        "Christmas market",
        "ada",
    )


@db
def test_what_is_overruled_is_told_for_the_history(ops: Any) -> None:
    freezes.freeze("r" * 200, by="b" * 150, state_dir=ops.state_dir)

    text = freezes.require_not_frozen(True, state_dir=ops.state_dir)

    assert text.startswith("freeze of bbb")
    assert len(text) <= 300


@db
def test_nothing_frozen_means_nothing_overruled(ops: Any) -> None:
    assert freezes.require_not_frozen(True, state_dir=ops.state_dir) == ""
    assert freezes.require_not_frozen(False, state_dir=ops.state_dir) == ""


@db
def test_a_second_freeze_is_refused_and_names_the_first(ops: Any, run: Run) -> None:
    freezes.freeze("audit", by="grace", state_dir=ops.state_dir)

    code, _, err = run("freeze", "mine")

    assert code == 5
    assert re.search(r"frozen already: grace since .*, until somebody lifts it: audit\.", err)
    there = freezes.in_force(ops.state_dir)
    assert there
    assert there.reason == "audit"


@db
def test_a_freeze_that_is_past_its_end_is_over_and_makes_room(ops: Any) -> None:
    soon = timezone.now() + timedelta(seconds=0.2)
    freezes.freeze("audit", by="grace", until=soon, state_dir=ops.state_dir)
    wait_until(lambda: freezes.in_force(ops.state_dir) is None)

    assert freezes.require_not_frozen(False, state_dir=ops.state_dir) == ""
    assert freezes.unfreeze(by="ada", state_dir=ops.state_dir) is None
    new = freezes.freeze("again", by="ada", state_dir=ops.state_dir)

    assert freezes.in_force(ops.state_dir) == new
    freezes.publish(ops.state_dir)
    assert [row.lifted_by for row in Freeze.objects.order_by("id")] == ["its end", ""]


@db
def test_unfreeze_says_what_it_lifted_and_who_lifted_it(ops: Any, run: Run) -> None:
    freezes.freeze("audit", by="grace", state_dir=ops.state_dir)

    code, out, _ = run("unfreeze")

    assert (code, "Lifted: the freeze by grace" in out) == (0, True)
    assert (Freeze.objects.get().lifted_by, freezes.in_force(ops.state_dir)) == ("ada", None)
    assert run("unfreeze")[:2] == (0, "Deployments were not frozen.\n")


@db
def test_what_is_written_into_the_table_neither_lifts_nor_freezes(ops: Any) -> None:
    made = freezes.freeze("audit", by="grace", state_dir=ops.state_dir)
    freezes.publish(ops.state_dir)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE ops_freeze SET lifted_at = now(), lifted_by = 'grace', reason = 'x'")
        cursor.execute(
            "INSERT INTO ops_freeze (reason, frozen_by, frozen_at, lifted_by) "
            "VALUES ('forged', 'ada', now(), '')"
        )

    assert freezes.in_force(ops.state_dir) == made
    freezes.publish(ops.state_dir)
    assert Freeze.objects.get(lifted_at=None).reason == "audit"
    freezes.unfreeze(by="ada", state_dir=ops.state_dir)
    freezes.publish(ops.state_dir)
    assert not Freeze.objects.filter(lifted_at=None).exists()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ops_freeze")
    freezes.publish(ops.state_dir)
    assert Freeze.objects.get().lifted_by == "ada"


@db
def test_a_freeze_of_an_older_release_is_carried_over_once(ops: Any) -> None:
    Freeze.objects.create(reason="of then", frozen_by="grace")

    there = freezes.in_force(ops.state_dir)
    assert there
    assert (there.reason, there.frozen_by) == ("of then", "grace")
    freezes.publish(ops.state_dir)
    assert Freeze.objects.get().reason == "of then"

    freezes.unfreeze(by="ada", state_dir=ops.state_dir)
    freezes.publish(ops.state_dir)
    Freeze.objects.create(reason="of then", frozen_by="grace")
    assert freezes.in_force(ops.state_dir) is None


def test_of_those_made_at_the_command_line_none_is_lifted_through_the_site(ops: Any) -> None:
    (prepared(ops.state_dir) / freezes.FILE).write_text("[]")
    freezes.freeze("audit", by="grace", state_dir=ops.state_dir)

    with pytest.raises(Refused, match="made at the command line, and is lifted only there"):
        freezes.unfreeze(by=through_the_site("grace"), state_dir=ops.state_dir)

    freezes.unfreeze(by="ada", state_dir=ops.state_dir)
    freezes.freeze("audit", by=through_the_site("grace"), state_dir=ops.state_dir)
    assert freezes.unfreeze(by=through_the_site("ada"), state_dir=ops.state_dir)


@db
def test_of_many_that_freeze_at_once_one_does(ops: Any) -> None:
    freezes.in_force(ops.state_dir)
    together, made, refused = Barrier(6), [], []

    def one(number: int) -> None:
        together.wait()
        try:
            made.append(freezes.freeze(f"no. {number}", by="ada", state_dir=ops.state_dir))
        except Refused as error:
            refused.append(error)

    threads = [Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), len(refused)) == (1, 5)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"uid": "x"}]', "null"])
def test_a_file_that_cannot_be_read_lets_nothing_pass(ops: Any, text: str) -> None:
    (prepared(ops.state_dir) / freezes.FILE).write_text(text)

    with pytest.raises(OpsError, match="Whether deployments are frozen is not known") as caught:
        freezes.require_not_frozen(False, state_dir=ops.state_dir)
    assert caught.value.exit_code == 1


@db
def test_a_time_is_in_the_projects_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"

    assert freezes.read_end("2026-12-27 08:00").isoformat() == "2026-12-27T08:00:00+01:00"
    assert freezes.moment(freezes.read_end("2026-12-27 08:00")) == "2026-12-27 08:00 CET"


@db
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--until", "2020-01-01 08:00"], "ended before it began: 2020-01-01 08:00 UTC is past"),
        (["--until", "0001-01-01T00:00+14:00"], "is past"),
        (["--until", "tomorrow"], '"tomorrow" is not a time.'),
        (["--until", "2026-02-30 08:00"], "is not a time."),
        (["--until", "9999-12-31 23:59"], "more than 3650 days"),
        (["--hours", "-1"], "ended before it began"),
        (["--hours", "nan"], "nan is no length of time."),
        (["--days", "1e300"], "1e+300 is no length of time."),
    ],
)
def test_times_that_are_past_or_nonsense_are_refused(
    ops: Any, run: Run, argv: list[str], said: str
) -> None:
    code, _, err = run("freeze", "why", *argv)

    assert (code, said in err, "Next: " in err) == (5, True, True), err
    assert freezes.in_force(ops.state_dir) is None


@db
@pytest.mark.parametrize("reason", ["", "  \n", "r" * 201])
def test_a_freeze_needs_a_reason_that_fits(ops: Any, reason: str) -> None:
    with pytest.raises(Refused, match="needs a reason, of at most 200 characters"):
        freezes.freeze(reason, by="ada", state_dir=ops.state_dir)


def test_without_postgres_they_freeze_and_lift_once_the_volume_knows_of_freezes(
    ops: Any, database: PostgresServer, run: Run
) -> None:
    freezes.in_force(ops.state_dir)
    database.stop()

    code, out, err = run("freeze", "why")
    assert (code, err) == (0, "")
    assert "The admin shows it when it answers again." in out
    with pytest.raises(Frozen):
        freezes.require_not_frozen(False, state_dir=ops.state_dir)
    assert run("unfreeze")[0] == 0
    assert freezes.in_force(ops.state_dir) is None


def test_without_postgres_an_older_releases_freeze_is_not_taken_for_none(
    ops: Any, database: PostgresServer, run: Run
) -> None:
    database.stop()

    for argv in (["freeze", "why"], ["unfreeze"]):
        code, _, err = run(*argv)
        assert code == 1
        assert err.startswith("Postgres does not answer as it should (")
        assert "Next: docker compose ps --all postgres" in err
