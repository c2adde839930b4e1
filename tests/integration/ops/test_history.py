"""The history, in a real Postgres that is also taken away in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone

from apps.ops.deploys import history
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Outcome
from apps.ops.deploys.history import OUTPUT_CHARACTERS, OUTPUT_LINES, History
from apps.ops.errors import Busy, StepFailed
from apps.ops.models import Deployment, Release, Step
from tests.integration.ops.conftest import NEW, OLD

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

db = pytest.mark.django_db
TERMINAL = [status.value for status in Deployment.TERMINAL]
ASKED = {"ref": "main", "requested_by": "ada", "requested_from": "192.0.2.7"}


def begin(**changes: str) -> Deployment:
    return history.begin(**{**ASKED, **changes})


def ended(status: str, **changes: Any) -> Deployment:
    row = begin()
    Deployment.objects.filter(pk=row.pk).update(
        status=status, finished_at=timezone.now(), **changes
    )
    return row


@db
def test_a_deployment_begins_as_running_with_who_asked_for_what() -> None:
    row = begin(ref="r" * 999, requested_by="b" * 999, requested_from="f" * 999)
    row.refresh_from_db()

    assert (row.status, row.kind) == ("running", "deploy")
    assert (len(row.ref), len(row.requested_by), len(row.requested_from)) == (250, 150, 200)
    assert row.started_at is not None
    assert (row.finished_at, row.exit_code) == (None, None)


@db
def test_one_deployment_runs_at_a_time() -> None:
    begin()

    with pytest.raises(IntegrityError, match="ops_one_running_deployment"):
        begin()


@db
def test_any_number_may_have_ended_and_one_run() -> None:
    for status in TERMINAL * 2:
        ended(status)
    begin()

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
    row = begin()

    with pytest.raises(IntegrityError, match="ops_terminal_deployment_is_finished"):
        Deployment.objects.filter(pk=row.pk).update(status=status)


@db
def test_a_releases_row_cannot_go_while_the_history_names_it() -> None:
    release = Release.objects.create(sha=NEW)
    row = begin()
    row.release = release
    row.save()

    with pytest.raises(DatabaseError):
        release.delete()


@db
def test_what_an_interrupted_deployment_left_is_closed_and_nothing_else() -> None:
    before = ended("succeeded")
    row = begin()
    Step.objects.create(
        deployment=row, position=1, name="fetch", started_at=timezone.now(), status="succeeded"
    )
    Step.objects.create(deployment=row, position=2, name="build", started_at=timezone.now())

    assert history.close_interrupted() == 1
    assert history.close_interrupted() == 0

    row.refresh_from_db()
    assert row.status == "interrupted"
    assert row.finished_at is not None
    assert row.error == "Its process ended without a word; the next deployment found it."
    assert [
        (s.name, s.status, s.summary, bool(s.finished_at)) for s in row.steps.order_by("position")
    ] == [
        ("fetch", "succeeded", "", False),
        ("build", "failed", "its process ended without a word", True),
    ]
    before.refresh_from_db()
    assert before.status == "succeeded"


@db
def test_a_refusal_is_an_entry_of_its_own_beside_the_one_that_runs() -> None:
    begin()

    number = history.record_refusal(**ASKED, error=Busy("Another deployment is running."))

    row = Deployment.objects.get(pk=number)
    assert (row.status, row.exit_code, row.error) == ("failed", 4, "Another deployment is running.")


@db
def test_a_step_is_in_the_database_before_it_acts_and_its_output_when_it_ended() -> None:
    row = begin()
    log = History(row)
    log.step_started("build", 2)

    step = row.steps.get()
    assert (step.status, step.position, step.finished_at) == ("running", 2, None)

    log.line("one\x00")
    log.line("x" * 5000)
    log.step_succeeded("build", "s" * 999, 1.0)
    step.refresh_from_db()
    assert (step.status, step.summary, bool(step.finished_at)) == ("succeeded", "s" * 300, True)
    assert step.output == "one\n" + "x" * 2000


@db
def test_of_a_steps_output_the_last_lines_are_kept() -> None:
    row = begin()
    log = History(row)
    log.step_started("build", 1)
    for number in range(OUTPUT_LINES + 100):
        log.line(f"{number} {'x' * 1000}")
    log.step_succeeded("build", "", 1.0)

    output = row.steps.get().output
    assert len(output) == OUTPUT_CHARACTERS
    assert output.splitlines()[-1].startswith(f"{OUTPUT_LINES + 99} ")


@db
def test_the_output_of_one_step_is_not_the_next_ones() -> None:
    row = begin()
    log = History(row)
    log.step_started("fetch", 1)
    log.line("fetching")
    log.step_succeeded("fetch", "", 1.0)
    log.step_started("build", 2)
    log.step_failed("build", StepFailed("It broke.", output="because"), 1.0)

    assert [(s.name, s.status, s.summary, s.output) for s in row.steps.all()] == [
        ("fetch", "succeeded", "", "fetching"),
        ("build", "failed", "It broke.", "because"),
    ]


@db
def test_only_what_had_succeeded_can_be_undone() -> None:
    row = begin()
    log = History(row)
    for position, name in enumerate(("fetch", "start"), 1):
        log.step_started(name, position)
    log.step_succeeded("start", "", 1.0)
    log.step_undone("start")
    log.step_undone("fetch")

    assert [s.status for s in row.steps.order_by("position")] == ["running", "undone"]


@db
def test_a_plan_becomes_the_release_its_commits_and_the_one_before(deploy: Deploy) -> None:
    Release.objects.create(sha=OLD, subject="Older")
    row = begin()
    log = History(row)

    log.planned(deploy.plan)
    log.image("sha256:" + "c" * 64)

    row.refresh_from_db()
    assert row.release is not None
    assert row.previous_release is not None
    assert (row.release.sha, row.release.subject, row.release.author) == (NEW, "Say hello", "Ada")
    assert row.release.image == "sha256:" + "c" * 64
    assert row.previous_release.sha == OLD
    assert (row.color, row.commits_total) == ("green", 1)
    assert [c["sha"] for c in row.commits] == [NEW]


@db
def test_a_release_that_is_deployed_again_keeps_its_row(deploy: Deploy) -> None:
    for _ in range(2):
        row = begin()
        History(row).planned(deploy.plan)
        History(row).ended(Outcome("succeeded", 0, 1.0))

    assert Release.objects.count() == 1
    assert Release.objects.get().deployments.count() == 2


@db
def test_whoever_ended_it_first_has_said_the_last_word() -> None:
    row = begin()
    log = History(row)
    history.close_interrupted()

    log.ended(Outcome("succeeded", 0, 1.0))

    row.refresh_from_db()
    assert row.status == "interrupted"
    assert log.lost == 0


@db
def test_how_it_ended_is_kept_with_its_error_and_warnings() -> None:
    row = begin()

    History(row).ended(
        Outcome("failed", 1, 1.0, row.pk, StepFailed("It broke.", output="because"), ["careful"])
    )

    row.refresh_from_db()
    assert (row.status, row.exit_code) == ("failed", 1)
    assert (row.error, row.warnings) == ("It broke.\n\nbecause", ["careful"])
    assert row.duration is not None


@pytest.mark.django_db(transaction=True)
def test_an_error_of_ours_in_one_row_does_not_spoil_the_next() -> None:
    row = begin()
    log = History(row)
    log.step_started("fetch", 1)
    log.step_started("again", 1)  # Its position is taken.
    assert log.lost == 1

    log.step_started("build", 2)

    assert [s.name for s in row.steps.all()] == ["fetch", "build"]
    assert log.lost == 1


# --- Postgres goes away ---------------------------------------------------------------------------


@pytest.fixture
def log(database: PostgresServer) -> History:
    Deployment.objects.all().delete()
    return History(begin())


def names() -> list[tuple[str, str]]:
    return [(s.name, s.status) for s in Step.objects.order_by("position")]


def test_a_restart_of_postgres_between_two_steps_loses_nothing(
    log: History, database: PostgresServer
) -> None:
    log.step_started("fetch", 1)
    database.stop()
    database.start()
    log.step_succeeded("fetch", "", 1.0)
    log.step_started("build", 2)

    assert names() == [("fetch", "succeeded"), ("build", "running")]
    assert log.lost == 0


def test_a_connection_that_was_cut_is_replaced(log: History, database: PostgresServer) -> None:
    with connection.cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    log.step_started("fetch", 1)

    assert (names(), log.lost) == ([("fetch", "running")], 0)


def test_what_happens_while_postgres_is_away_is_counted_and_the_rest_is_written(
    log: History, database: PostgresServer
) -> None:
    log.step_started("fetch", 1)
    log.step_succeeded("fetch", "", 1.0)
    database.stop()
    log.step_started("build", 2)
    assert log.lost == 1
    database.start()
    log.step_succeeded("build", "", 1.0)
    log.ended(Outcome("succeeded", 6, 1.0))

    assert names() == [("fetch", "succeeded"), ("build", "succeeded")]
    assert Deployment.objects.get().status == "succeeded"
    assert log.lost == 1
