"""The history, in a real Postgres that is also taken away in the middle."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone

from apps.ops.deploys import history, journal
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Outcome
from apps.ops.deploys.recorder import OUTPUT_CHARACTERS, OUTPUT_LINES, Recorder
from apps.ops.deploys.story import Story
from apps.ops.errors import StepFailed
from apps.ops.models import Deployment, Packages, Release, Step
from apps.ops.stack.inventory import Inventory
from tests.integration.ops.conftest import ASKED, NEW, OLD, begin
from tests.servers import HUNG_SECONDS, wait_until

if TYPE_CHECKING:
    from tests.servers import PostgresServer

db = pytest.mark.django_db
# The rows are written in a thread of its own, on a connection of its own.
written = pytest.mark.django_db(transaction=True)
TERMINAL = [status.value for status in Deployment.TERMINAL]
GOOD = Outcome("succeeded", 0, 1.0)


def running() -> Deployment:
    return Deployment.objects.create(status="running", ref="main", started_at=timezone.now())


def ended(status: str, **changes: Any) -> Deployment:
    row = running()
    Deployment.objects.filter(pk=row.pk).update(
        status=status, finished_at=timezone.now(), **changes
    )
    return row


def only_story(state_dir: Path) -> Story:
    [story] = journal.stories(state_dir)
    return story


def names() -> list[tuple[str, str]]:
    return [(s.name, s.status) for s in Step.objects.order_by("position")]


# --- What the tables refuse -----------------------------------------------------------------------


@db
def test_one_deployment_runs_at_a_time() -> None:
    running()

    with pytest.raises(IntegrityError, match="ops_one_running_deployment"):
        running()


@db
def test_any_number_may_have_ended_and_one_run() -> None:
    for status in TERMINAL * 2:
        ended(status)
    running()

    assert Deployment.objects.count() == 9


@db
@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("other", [*TERMINAL, "running", "queued"])
def test_what_ended_so_stays_so_for_raw_sql_too(status: str, other: str) -> None:
    row = ended(status)
    sql = "UPDATE ops_deployment SET status = %s WHERE id = %s"
    with connection.cursor() as cursor:
        if other == status:
            cursor.execute(sql, [other, row.pk])
            return
        with pytest.raises(
            IntegrityError,
            match=rf"deployment {row.pk} has ended \({status}\): its status cannot change",
        ):
            cursor.execute(sql, [other, row.pk])


@db
def test_what_ended_can_still_be_annotated() -> None:
    row = ended("failed")
    row.refresh_from_db()
    row.error = "and this is why"
    row.save()

    assert Deployment.objects.get().error == "and this is why"


@db
@pytest.mark.parametrize("status", TERMINAL)
def test_nothing_has_ended_without_a_time(status: str) -> None:
    row = running()

    with pytest.raises(IntegrityError, match="ops_terminal_deployment_is_finished"):
        Deployment.objects.filter(pk=row.pk).update(status=status)


@db
def test_a_releases_row_cannot_go_while_the_history_names_it() -> None:
    release = Release.objects.create(sha=NEW)
    row = running()
    row.release = release
    row.save()

    with pytest.raises(DatabaseError):
        release.delete()


@db
def test_what_claims_to_run_without_a_journal_is_closed_and_nothing_else() -> None:
    before = ended("succeeded")
    row = running()
    Step.objects.create(
        deployment=row, position=1, name="fetch", started_at=timezone.now(), status="succeeded"
    )
    Step.objects.create(deployment=row, position=2, name="build", started_at=timezone.now())

    assert history.close_interrupted() == 1
    assert history.close_interrupted() == 0

    row.refresh_from_db()
    assert row.status == "interrupted"
    assert row.finished_at is not None
    assert row.error == "Its process ended without a word, and its journal is gone."
    assert [
        (s.name, s.status, s.summary, bool(s.finished_at)) for s in row.steps.order_by("position")
    ] == [
        ("fetch", "succeeded", "", False),
        ("build", "failed", "its process ended without a word", True),
    ]
    before.refresh_from_db()
    assert before.status == "succeeded"


# --- What is written ------------------------------------------------------------------------------


@written
def test_a_deployment_begins_as_running_with_who_asked_for_what(tmp_path: Path) -> None:
    recorder = begin(
        tmp_path, ref="r" * 999, requested_by="b" * 999, requested_from="f" * 999, kind="rollback"
    )

    row = Deployment.objects.get()
    assert (row.pk, row.uid) == (recorder.number, recorder.story.uid)
    assert (row.status, row.kind) == ("running", "rollback")
    assert (len(row.ref), len(row.requested_by), len(row.requested_from)) == (250, 150, 200)
    assert row.started_at is not None
    assert row.created_at == row.started_at
    assert (row.finished_at, row.exit_code) == (None, None)
    assert not recorder.behind


@written
def test_a_refusal_is_an_entry_of_its_own_beside_the_one_that_runs(tmp_path: Path) -> None:
    running()

    recorder = begin(tmp_path)
    recorder.ended(Outcome("failed", 4, 0.0, error=StepFailed("Another deployment is running.")))

    row = Deployment.objects.get(pk=recorder.number)
    assert (row.status, row.exit_code, row.error) == ("failed", 4, "Another deployment is running.")


@written
def test_a_step_is_in_the_database_before_it_acts_and_its_output_when_it_ended(
    tmp_path: Path,
) -> None:
    recorder = begin(tmp_path)
    recorder.step_started("build", 2)

    step = Step.objects.get()
    assert (step.status, step.position, step.finished_at) == ("running", 2, None)

    recorder.line("one\x00")
    recorder.line("x" * 5000)
    recorder.step_succeeded("build", "s" * 999, 1.0)
    step.refresh_from_db()
    assert (step.status, step.summary, bool(step.finished_at)) == ("succeeded", "s" * 300, True)
    assert step.output == "one\n" + "x" * 2000


@written
def test_of_a_steps_output_the_last_lines_are_kept(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    recorder.step_started("build", 1)
    for number in range(OUTPUT_LINES + 100):
        recorder.line(f"{number} {'x' * 1000}")
    recorder.step_succeeded("build", "", 1.0)

    output = Step.objects.get().output
    assert len(output) == OUTPUT_CHARACTERS
    assert output.splitlines()[-1].startswith(f"{OUTPUT_LINES + 99} ")


@written
def test_the_output_of_one_step_is_not_the_next_ones(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    recorder.step_started("fetch", 1)
    recorder.line("fetching")
    recorder.step_succeeded("fetch", "", 1.0)
    recorder.step_started("build", 2)
    recorder.step_failed("build", StepFailed("It broke.", output="because"), 1.0)

    assert [(s.name, s.status, s.summary, s.output) for s in Step.objects.all()] == [
        ("fetch", "succeeded", "", "fetching"),
        ("build", "failed", "It broke.", "because"),
    ]


@written
def test_only_what_had_succeeded_can_be_undone(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    recorder.step_started("fetch", 1)
    recorder.step_succeeded("fetch", "", 1.0)
    recorder.step_started("start", 2)
    recorder.step_undone("start")
    recorder.step_undone("fetch")

    assert names() == [("fetch", "undone"), ("start", "running")]


@written
def test_the_undoing_of_a_step_whose_start_was_not_noted_is_no_error(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    recorder.step_undone("start")
    recorder.undo_failed("start")

    assert (names(), recorder.behind) == ([], False)


@written
def test_a_plan_becomes_the_release_its_commits_and_the_one_before(
    deploy: Deploy, tmp_path: Path
) -> None:
    Release.objects.create(sha=OLD, subject="Older")
    recorder = begin(tmp_path)

    recorder.planned(deploy.plan)
    recorder.built("sha256:" + "c" * 64)

    row = Deployment.objects.get()
    assert row.release is not None
    assert row.previous_release is not None
    assert (row.release.sha, row.release.subject, row.release.author) == (NEW, "Say hello", "Ada")
    assert row.release.image == "sha256:" + "c" * 64
    assert row.previous_release.sha == OLD
    assert (row.color, row.commits_total) == ("green", 1)
    assert [c["sha"] for c in row.commits] == [NEW]


@written
def test_what_a_build_put_into_the_image_is_kept_with_the_release(
    deploy: Deploy, tmp_path: Path
) -> None:
    recorder = begin(tmp_path)
    recorder.planned(deploy.plan)
    for version in ("3.5.1", "3.5.4"):
        recorder.step_started("build", 2)
        recorder.built("sha256:" + "c" * 64, Inventory("2026-01-01", deb={"openssl": version}))
        recorder.step_succeeded("build", "site:bbbb…", 1.0)

    packages = Packages.objects.get()
    assert packages.release.sha == NEW
    assert packages.inventory["deb"] == {"openssl": "3.5.4"}


@written
def test_a_release_that_is_deployed_again_keeps_its_row(deploy: Deploy, tmp_path: Path) -> None:
    for _ in range(2):
        recorder = begin(tmp_path)
        recorder.planned(deploy.plan)
        recorder.ended(GOOD)

    assert Release.objects.count() == 1
    assert Release.objects.get().deployments.count() == 2


@written
def test_what_was_measured_and_overruled_is_kept(tmp_path: Path) -> None:
    recorder = begin(tmp_path, override="frozen by grace: holidays")
    recorder.intend("preflight", {"migrations": [{"name": "site.0002"}], "known": ["site.0001"]})
    recorder.baked({"requests": 7})

    row = Deployment.objects.get()
    assert row.override == "frozen by grace: holidays"
    assert row.migrations == [{"name": "site.0002"}]
    assert row.bake == {"requests": 7}


@written
def test_whoever_ended_it_first_has_said_the_last_word(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    history.close_interrupted()

    recorder.ended(GOOD)

    assert Deployment.objects.get().status == "interrupted"
    assert not recorder.behind


@written
def test_how_it_ended_is_kept_with_its_error_and_warnings(tmp_path: Path) -> None:
    error = StepFailed("It broke.", output="because", next="fix it", traffic="Nobody noticed.")
    begin(tmp_path).ended(Outcome("failed", 1, 1.0, None, error, ["careful"]))

    row = Deployment.objects.get()
    assert (row.status, row.exit_code) == ("failed", 1)
    assert (row.error, row.warnings) == ("It broke.\n\nbecause", ["careful"])
    assert (row.next, row.traffic) == ("fix it", "Nobody noticed.")
    assert row.duration is not None


@written
def test_the_rows_are_the_same_when_they_are_written_again_from_the_journal(
    deploy: Deploy, tmp_path: Path
) -> None:
    recorder = begin(tmp_path)
    recorder.step_started("fetch", 1)
    recorder.planned(deploy.plan)
    recorder.step_succeeded("fetch", "it is here", 1.0)
    recorder.warned("careful")
    recorder.ended(Outcome("succeeded", 6, 1.0, warnings=["careful"]))
    before = rows()

    Deployment.objects.all().delete()
    assert history.bring_in(list(journal.stories(tmp_path))) == 1
    assert history.bring_in(list(journal.stories(tmp_path))) == 0

    assert rows() == before


def rows() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    row = Deployment.objects.values().get()
    steps = list(Step.objects.order_by("position").values())
    assert row.pop("id")
    for step in steps:
        del step["id"], step["deployment_id"]
    return row, steps


@db
def test_a_journal_whose_first_line_is_lost_keeps_nothing_else_out_of_the_history() -> None:
    lost, good = Story(journal.new_uid()), Story(journal.new_uid())
    good.apply(journal.record("begun", override="", **ASKED))
    for story in (lost, good):
        story.apply(
            journal.record(
                "ended", status="failed", exit_code=1, warnings=[], error="", traffic="", next=""
            )
        )

    assert history.bring_in([lost, good]) == 1
    assert Deployment.objects.get().uid == good.uid


@written
def test_a_journal_that_cannot_be_begun_is_said_and_nothing_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()

    with pytest.raises(StepFailed, match="cannot be written down first") as caught:
        begin(tmp_path)

    assert caught.value.next.startswith("df -h")
    assert not Deployment.objects.exists()


# --- Postgres goes away ---------------------------------------------------------------------------


@pytest.fixture
def recorder(database: PostgresServer, tmp_path: Path) -> Recorder:
    return begin(tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "WRITE_SECONDS", 1.0)


def has_caught_up(recorder: Recorder) -> bool:
    """With its next line, which here says nothing new. While it is behind, a line has only a moment
    to be written."""
    recorder.built("")
    return not recorder.behind


def test_a_restart_of_postgres_between_two_steps_loses_nothing(
    recorder: Recorder, database: PostgresServer
) -> None:
    recorder.step_started("fetch", 1)
    database.stop()
    database.start()
    recorder.step_succeeded("fetch", "", 1.0)
    recorder.step_started("build", 2)

    assert names() == [("fetch", "succeeded"), ("build", "running")]
    assert not recorder.behind


def test_what_happens_while_postgres_is_away_is_written_with_the_next_line(
    recorder: Recorder, database: PostgresServer
) -> None:
    recorder.step_started("fetch", 1)
    database.stop()
    recorder.step_succeeded("fetch", "it is here", 1.0)
    recorder.step_started("build", 2)
    recorder.line("building")
    recorder.step_succeeded("build", "", 1.0)
    recorder.warned("careful")
    assert recorder.behind
    database.start()
    recorder.step_started("start", 3)

    wait_until(lambda: has_caught_up(recorder))
    assert names() == [("fetch", "succeeded"), ("build", "succeeded"), ("start", "running")]
    assert [(s.summary, s.output) for s in Step.objects.order_by("position")] == [
        ("it is here", ""),
        ("", "building"),
        ("", ""),
    ]
    assert Deployment.objects.get().warnings == ["careful"]


def test_what_ended_while_postgres_was_away_is_brought_in_from_the_journal(
    recorder: Recorder, database: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.deploys.recorder.LAST_WORD_SECONDS", 1.0)
    database.stop()
    recorder.step_started("fetch", 1)
    recorder.step_succeeded("fetch", "", 1.0)
    recorder.ended(GOOD)
    assert recorder.behind
    with pytest.raises(DatabaseError):
        history.bring_in(list(journal.stories(tmp_path)))
    connection.close()

    database.start()
    assert Deployment.objects.get().status == "running"
    assert history.bring_in(list(journal.stories(tmp_path))) == 1

    assert names() == [("fetch", "succeeded")]
    assert Deployment.objects.get().status == "succeeded"


def test_a_postgres_that_hangs_is_waited_for_once_and_nothing_is_lost(
    impatient: None, recorder: Recorder, database: PostgresServer
) -> None:
    database.freeze()
    begun = monotonic()
    for position in range(1, 51):
        recorder.step_started(f"step{position}", position)
        recorder.step_succeeded(f"step{position}", "", 1.0)
    # One second each would be a hundred.
    assert monotonic() - begun < HUNG_SECONDS
    assert recorder.behind

    database.thaw()

    wait_until(lambda: has_caught_up(recorder))
    assert names() == [(f"step{position}", "succeeded") for position in range(1, 51)]


def test_a_lock_on_the_rows_does_not_hold_a_deployment_up(
    impatient: None, recorder: Recorder, database: PostgresServer
) -> None:
    with psycopg.connect(**connection.get_connection_params()) as somebody:
        somebody.execute("LOCK TABLE ops_step")
        begun = monotonic()
        for position in range(1, 51):
            recorder.step_started(f"step{position}", position)
        assert monotonic() - begun < HUNG_SECONDS
        assert recorder.behind
        somebody.rollback()

    recorder.ended(GOOD)

    assert not recorder.behind
    assert len(names()) == 50
    assert Deployment.objects.get().status == "succeeded"
