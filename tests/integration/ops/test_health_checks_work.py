"""What the checks of the workers, the backups and the jobs say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Task

from apps.ops import canary
from apps.ops.agent.runs import Runs
from apps.ops.conf import OpsSettings
from apps.ops.health.checks import backups, cron, database, workers
from apps.ops.health.result import Result, Status
from apps.ops.models import JobRun, Release
from tests.conftest import OpsSettingsFactory
from tests.servers import PostgresServer

Looker = Callable[[OpsSettings], Result]
RETRY = 240


@pytest.fixture(autouse=True)
def database_server(database: PostgresServer) -> PostgresServer:
    for model in (OrmQ, Task, JobRun, Release):
        model.objects.all().delete()
    connection.close()
    return database


@pytest.fixture
def crontab(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "crontab").write_text(text)
        return tmp_path / "crontab"

    return write


@pytest.mark.parametrize("look", [database.look, workers.look, cron.look, backups.look])
def test_a_frozen_postgres_is_given_up_in_time(
    ops_settings: OpsSettingsFactory,
    database_server: PostgresServer,
    crontab: Callable[[str], Path],
    tmp_path: Path,
    look: Looker,
) -> None:
    settings = ops_settings(crontab=crontab(""), backup_dir=tmp_path / "backups")
    database_server.freeze()

    result = look(settings)

    assert result.status is not Status.GOOD
    assert result.next == "docker compose ps --all postgres"


# --- The workers


def canary_came_back(settings: OpsSettings, *, seconds_ago: float) -> None:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    file = settings.state_dir / "agent" / "canary"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"at": at.isoformat(), "release": "a" * 40, "seconds": 0.4}))


def queue(count: int, *, seconds_ago: float) -> None:
    """As django-q2 writes them: what is to run now was locked its retry time ago."""
    lock = timezone.now() - timedelta(seconds=RETRY + seconds_ago)
    OrmQ.objects.bulk_create(OrmQ(key="site", payload="", lock=lock) for _ in range(count))


def ended(*, good: int, failed: int, minutes_ago: int = 5) -> None:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    Task.objects.bulk_create(
        Task(id=f"{minutes_ago}-{n}", name="t", func="f", started=at, stopped=at, success=n < good)
        for n in range(good + failed)
    )


@pytest.fixture
def worked(ops_settings: OpsSettingsFactory) -> OpsSettings:
    settings = ops_settings()
    canary_came_back(settings, seconds_ago=30)
    return settings


def test_workers_whose_canary_came_back_are_good(worked: OpsSettings) -> None:
    ended(good=8, failed=1)

    result = workers.look(worked)

    assert result.status is Status.GOOD
    assert result.figures["waiting"] == 0
    assert result.figures["failed_percent"] == 11.1


def test_a_canary_that_stays_away_is_bad_also_without_postgres(
    worked: OpsSettings, database_server: PostgresServer
) -> None:
    canary_came_back(worked, seconds_ago=901)
    database_server.stop()

    result = workers.look(worked)

    assert result.status is Status.BAD
    assert "15 minutes ago" in result.summary


@pytest.mark.parametrize("content", [None, "", "[]", '{"at": 7}', '{"at": "yesterday"}', "\xff"])
def test_without_a_canary_it_is_not_measured(
    ops_settings: OpsSettingsFactory, content: str | None
) -> None:
    settings = ops_settings()
    if content is not None:
        canary_came_back(settings, seconds_ago=0)
        (settings.state_dir / "agent" / "canary").write_bytes(content.encode("latin-1"))

    assert workers.look(settings).status is Status.UNKNOWN


def test_a_task_that_waits_too_long_is_bad(worked: OpsSettings) -> None:
    queue(1, seconds_ago=700)

    result = workers.look(worked)

    assert result.status is Status.BAD
    assert "has been waiting for 70" in result.summary


def test_too_many_tasks_are_bad(worked: OpsSettings) -> None:
    queue(1000, seconds_ago=5)

    assert workers.look(worked).summary == "1000 tasks are queued."


def test_a_waiting_canary_and_a_task_in_a_workers_hands_are_no_queue(worked: OpsSettings) -> None:
    OrmQ.objects.create(key="site", payload="", lock=canary.FIRST)
    OrmQ.objects.create(key="site", payload="", lock=timezone.now())

    assert workers.look(worked).figures["waiting"] == 0


@pytest.mark.parametrize(
    ("failed", "good", "minutes_ago", "status"),
    [
        (3, 7, 5, Status.BAD),
        (2, 0, 5, Status.GOOD),
        (3, 97, 5, Status.GOOD),
        (9, 0, 70, Status.GOOD),
    ],
)
def test_a_share_of_failed_tasks_is_bad_and_one_or_two_are_not(
    worked: OpsSettings, failed: int, good: int, minutes_ago: int, status: Status
) -> None:
    ended(good=good, failed=failed, minutes_ago=minutes_ago)

    assert workers.look(worked).status is status


# --- Backups


def backup(directory: Path, *, hours_ago: float, finished: bool = True) -> None:
    directory.mkdir(exist_ok=True)
    dump = directory / f"site-{datetime.now(UTC) - timedelta(hours=hours_ago):%Y%m%d-%H%M%S}.dump"
    dump.write_bytes(b"x")
    if finished:
        digest = hashlib.sha256(b"x").hexdigest()
        dump.with_name(f"{dump.name}.sha256").write_text(f"{digest}  {dump.name}\n")


def test_a_fresh_backup_is_good_also_without_postgres(
    ops_settings: OpsSettingsFactory, database_server: PostgresServer, tmp_path: Path
) -> None:
    settings = ops_settings(backup_dir=tmp_path / "backups")
    backup(settings.backup_dir, hours_ago=40)
    backup(settings.backup_dir, hours_ago=2)
    database_server.stop()

    result = backups.look(settings)

    assert result.status is Status.GOOD
    assert result.figures["hours"] == 2.0
    assert result.figures["backups"] == 2


def test_an_old_backup_is_bad_whatever_was_not_finished_since(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    settings = ops_settings(backup_dir=tmp_path / "backups")
    backup(settings.backup_dir, hours_ago=40)
    backup(settings.backup_dir, hours_ago=2, finished=False)

    result = backups.look(settings)

    assert result.status is Status.BAD
    assert "40 hours old" in result.summary


def released(*, hours_ago: float) -> None:
    release = Release.objects.create(sha="a" * 40)
    at = timezone.now() - timedelta(hours=hours_ago)
    Release.objects.filter(pk=release.pk).update(created_at=at)


def test_a_young_site_without_a_backup_is_good_and_an_old_one_is_bad(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    settings = ops_settings(backup_dir=tmp_path / "backups")
    nothing = backups.look(settings)
    released(hours_ago=3)
    young = backups.look(settings)
    Release.objects.all().delete()
    released(hours_ago=30)
    old = backups.look(settings)

    assert [nothing.status, young.status, old.status] == [Status.GOOD, Status.GOOD, Status.BAD]
    assert "deployed 3.0 hours ago" in young.summary
    assert old.next == "manage.py backup_db"


# --- Jobs


HOURLY = "0 * * * * manage.py backup_db\n"


def was_due(settings: OpsSettings, *, hours_ago: float) -> datetime:
    """The agent saw to it then."""
    due = datetime.now(UTC) - timedelta(hours=hours_ago)
    runs = Runs(settings.state_dir)
    with runs.claiming():
        runs.set_last_due("manage.py backup_db", due)
    return due


def ran(
    status: JobRun.Status,
    *,
    hours_ago: float = 0.5,
    code: int | None = None,
    job: str = "manage.py backup_db",
) -> None:
    due = timezone.now() - timedelta(hours=hours_ago)
    JobRun.objects.create(job=job, due=due, status=status, exit_code=code, by_operations=True)


def test_of_operations_jobs_what_the_site_wrote_down_does_not_count(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path]
) -> None:
    settings = ops_settings(crontab=crontab(HOURLY))
    was_due(settings, hours_ago=0)
    ran(JobRun.Status.FAILED, hours_ago=2)
    JobRun.objects.create(job="manage.py backup_db", due=timezone.now(), status="succeeded")

    assert cron.look(settings).status is Status.BAD


def test_jobs_that_ran_when_they_were_due_are_good(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path]
) -> None:
    settings = ops_settings(crontab=crontab(HOURLY))
    was_due(settings, hours_ago=0)
    ran(JobRun.Status.FAILED, hours_ago=2)
    ran(JobRun.Status.SUCCEEDED)
    ran(JobRun.Status.RUNNING, hours_ago=0)

    result = cron.look(settings)

    assert result.status is Status.GOOD
    assert result.summary == "1 job is on time."


def test_a_job_that_was_due_and_not_started_is_bad_also_without_postgres(
    ops_settings: OpsSettingsFactory,
    crontab: Callable[[str], Path],
    database_server: PostgresServer,
) -> None:
    settings = ops_settings(crontab=crontab(HOURLY))
    was_due(settings, hours_ago=3)
    database_server.stop()

    result = cron.look(settings)

    assert result.status is Status.BAD
    assert "and was not started" in result.summary


def test_a_job_that_the_agent_never_saw_is_not_late(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path]
) -> None:
    assert cron.look(ops_settings(crontab=crontab(HOURLY))).status is Status.GOOD


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (JobRun.Status.FAILED, "failed (exit code 3)"),
        (JobRun.Status.TIMED_OUT, "was ended at its deadline"),
        (JobRun.Status.LOST, "was lost with the agent"),
        (JobRun.Status.MISSED, "was missed"),
    ],
)
def test_a_job_whose_last_run_did_not_end_well_is_bad(
    ops_settings: OpsSettingsFactory,
    crontab: Callable[[str], Path],
    status: JobRun.Status,
    said: str,
) -> None:
    ran(JobRun.Status.SUCCEEDED, hours_ago=2)
    ran(status, code=3 if status is JobRun.Status.FAILED else None)

    result = cron.look(ops_settings(crontab=crontab(HOURLY)))

    assert result.status is Status.BAD
    assert said in result.summary


def test_a_job_that_is_not_in_the_crontab_any_more_is_forgotten(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path]
) -> None:
    ran(JobRun.Status.FAILED)

    assert (
        cron.look(ops_settings(crontab=crontab("0 3 * * * manage.py other\n"))).status
        is Status.GOOD
    )


@pytest.mark.parametrize("text", ["61 * * * * manage.py x\n", "* * * * manage.py\n"])
def test_a_line_that_does_not_count_is_bad_and_named(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path], text: str
) -> None:
    result = cron.look(ops_settings(crontab=crontab(text)))

    assert result.status is Status.BAD
    assert "line 1" in result.summary


@pytest.mark.parametrize(("code", "status"), [(1, Status.GOOD), (3, Status.GOOD), (2, Status.BAD)])
def test_a_round_of_checks_that_found_something_did_its_work(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path], code: int, status: Status
) -> None:
    """Else one bad check would keep this one bad for ever, and this one every next round."""
    ran(JobRun.Status.FAILED, code=code, job="manage.py check_health")

    result = cron.look(ops_settings(crontab=crontab("* * * * * manage.py check_health\n")))

    assert result.status is status


@pytest.mark.parametrize(("code", "status"), [(1, Status.GOOD), (2, Status.BAD)])
def test_a_canary_that_did_not_come_back_is_for_the_check_of_the_workers(
    ops_settings: OpsSettingsFactory, crontab: Callable[[str], Path], code: int, status: Status
) -> None:
    """One that is sent while a deployment changes the worker may not."""
    ran(JobRun.Status.FAILED, code=code, job="manage.py canary")

    result = cron.look(ops_settings(crontab=crontab("*/5 * * * * manage.py canary\n")))

    assert result.status is status


@pytest.mark.parametrize(
    ("ran_until", "skipped", "status"),
    [
        pytest.param(3.0, [2.0, 1.0, 0.1], Status.BAD, id="longer than the deadline"),
        pytest.param(3.0, [0.9, 0.1], Status.GOOD, id="not for so long yet"),
        pytest.param(1.5, [2.0], Status.GOOD, id="the run that was in its way has ended since"),
        pytest.param(None, [3.0, 2.0], Status.BAD, id="it never ran"),
    ],
)
def test_a_job_whose_lock_never_comes_free_is_bad(
    ops_settings: OpsSettingsFactory,
    crontab: Callable[[str], Path],
    ran_until: float | None,
    skipped: list[float],
    status: Status,
) -> None:
    if ran_until is not None:
        ran(JobRun.Status.SUCCEEDED, hours_ago=4)
        finished = timezone.now() - timedelta(hours=ran_until)
        JobRun.objects.update(finished_at=finished)
    for hours_ago in skipped:
        ran(JobRun.Status.SKIPPED, hours_ago=hours_ago)

    result = cron.look(ops_settings(crontab=crontab(f"DEADLINE=3600\n{HOURLY}")))

    assert result.status is status
    assert ("does not let go of its lock" in result.summary) is (status is Status.BAD)
