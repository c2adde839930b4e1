from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.ops.agent import crontab
from apps.ops.agent.crontab import Crontab, Job

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def parse(text: str, *, zone: str = "UTC") -> Crontab:
    return crontab.parse(text, zone=zone, seconds=3600)


def job(text: str, *, zone: str = "UTC") -> Job:
    found = parse(text, zone=zone)
    assert not found.problems
    [only] = found.jobs
    return only


def due(text: str, after: datetime, hours: float, *, zone: str = "UTC") -> list[str]:
    times = job(text, zone=zone).due(after, after + timedelta(hours=hours))
    return [f"{at:%d %H:%M}" for at, _ in times]


def test_a_line_is_five_fields_and_a_command() -> None:
    assert due("*/20 * * * * manage.py canary", NOON, 1) == ["23 12:20", "23 12:40", "23 13:00"]
    assert due("0 9-17 * * mon-fri manage.py canary", NOON, 3) == [
        "23 13:00",
        "23 14:00",
        "23 15:00",
    ]
    assert job("0 0 * * *   manage.py\tcanary").command == "manage.py canary"


def test_what_is_due_at_the_start_is_not_due_again_and_what_is_due_at_the_end_is() -> None:
    assert due("0 * * * * manage.py canary", NOON, 1) == ["23 13:00"]


def test_comments_and_empty_lines_say_nothing() -> None:
    assert parse("# every minute\n\n   \n  # * * * * * rm\n") == Crontab((), ())


def test_a_time_zone_holds_for_the_lines_below_it() -> None:
    text = "CRON_TZ=Asia/Tokyo\n0 3 * * * manage.py backup_db"
    assert due(text, NOON, 24) == ["23 18:00"]
    assert due("0 3 * * * manage.py backup_db", NOON, 24, zone="Europe/Berlin") == ["24 02:00"]


def test_a_deadline_holds_for_the_lines_below_it() -> None:
    found = parse("0 1 * * * one\nDEADLINE=60\n0 2 * * * two\n0 3 * * * three\n")
    assert [j.lines[0].seconds for j in found.jobs] == [3600, 60, 60]


@pytest.mark.parametrize(
    ("day", "line", "times"),
    [
        # The hour that is left out in spring: once, after it.
        (datetime(2026, 3, 29, tzinfo=UTC), "30 2 * * * backup", ["29 01:00"]),
        # The hour that comes twice in autumn: once.
        (datetime(2026, 10, 24, 22, tzinfo=UTC), "30 2 * * * backup", ["25 00:30"]),
        # Every hour goes on through both.
        (
            datetime(2026, 10, 24, 22, tzinfo=UTC),
            "0 * * * * backup",
            ["24 23:00", "25 00:00", "25 01:00", "25 02:00", "25 03:00", "25 04:00"],
        ),
    ],
)
def test_the_clock_change_neither_loses_nor_doubles_a_run(
    day: datetime, line: str, times: list[str]
) -> None:
    assert due(line, day, 6, zone="Europe/Berlin") == times


@pytest.mark.parametrize(
    ("line", "next_time"),
    [("30 2 * * *", "26 01:30"), ("*/15 * * * *", "25 01:30"), ("0 * * * *", "25 02:00")],
)
def test_in_the_doubled_hour_nothing_is_due_before_now(line: str, next_time: str) -> None:
    now = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 in Berlin, for the second time.
    found = job(f"{line} backup", zone="Europe/Berlin")

    assert not found.due(now, now)
    at = found.next(now)
    assert at
    assert f"{at:%d %H:%M}" == next_time


def test_two_lines_with_the_same_command_are_one_job_that_is_due_once_at_a_time() -> None:
    text = "0 * * * * manage.py canary\n*/30 * * * * manage.py canary"
    assert due(text, NOON, 1) == ["23 12:30", "23 13:00"]


def test_manage_py_is_this_projects_and_there_is_no_shell() -> None:
    argv = job("* * * * * manage.py backup_db --reason 'at night' > /dev/null").argv
    assert argv == [
        sys.executable,
        "manage.py",
        "backup_db",
        "--reason",
        "at night",
        ">",
        "/dev/null",
    ]
    assert job("* * * * * touch $HOME").argv == ["touch", "$HOME"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("61 * * * * canary", "bad minute in 61 * * * *"),
        ("* * * * *", "it is not five fields and a command"),
        ("@daily canary", "it is not five fields and a command"),
        ("* * 31 2 * canary", "bad day-of-month in * * 31 2 *"),
        ("* * * * * canary 'now", "its command cannot be read: no closing quotation"),
        ("MAILTO=ops@example.org", "MAILTO cannot be set here; CRON_TZ and DEADLINE can"),
        ("CRON_TZ=Mars/Olympus", '"Mars/Olympus" is no time zone; try Europe/Berlin'),
        ("CRON_TZ=../../etc/passwd", '"../../etc/passwd" is no time zone; try Europe/Berlin'),
        ("CRON_TZ=", '"" is no time zone; try Europe/Berlin'),
        ("DEADLINE=soon", '"soon" is no deadline in seconds; write it like DEADLINE=600'),
        ("DEADLINE=0", '"0" is no deadline in seconds; write it like DEADLINE=600'),
        (
            f"* * * * * {'x' * 201}",
            "its command is longer than 200 characters: put it in a script",
        ),
        ("* * * * * ''", "its command is empty"),
        ("* * * * * touch \x00", "its command has a character that no command can have"),
    ],
)
def test_a_bad_line_is_said_with_its_number_and_the_others_count(line: str, found: str) -> None:
    read = parse(f"0 1 * * * before\n{line}\n0 2 * * * after\n")

    [problem] = read.problems
    assert (problem.number, problem.found) == (2, found)
    assert [j.command for j in read.jobs] == ["before", "after"]


def test_a_crontab_that_cannot_be_read_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        found = crontab.read(path, zone="UTC", seconds=60)
        assert not found.jobs
        assert "it cannot be read" in str(found.problems[0])

    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert crontab.read(tmp_path / "bytes", zone="UTC", seconds=60).problems


def test_a_long_absence_is_not_counted_to_its_end() -> None:
    every_minute = job("* * * * * canary")
    assert len(every_minute.due(NOON, NOON + timedelta(days=365))) == crontab.MOST


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("manage.py check_health --exit-zero", True),
        ("manage.py   backup_db", True),
        ("manage.py clearsessions", False),
        ("manage.py thumbnails backup_db", False),
        ("manage.py", False),
        ("python manage.py backup_db", False),
        ("sh -c 'manage.py backup_db'", False),
        ("./backup_db", False),
        # These make Django's command line run code of anybody's choice.
        ("manage.py backup_db --pythonpath=/srv/media", False),
        ("manage.py backup_db --settings evil", False),
        ("manage.py --pythonpath /srv/media backup_db", False),
    ],
)
def test_the_ops_commands_are_told_from_the_sites(command: str, own: bool) -> None:
    assert job(f"* * * * * {command}").is_own is own


def test_the_projects_own_crontab_is_good_and_has_the_jobs_that_every_site_needs() -> None:
    found = crontab.read(ROOT / "docker" / "crontab", zone="UTC", seconds=3600)

    assert not found.problems
    verbs = {j.argv[2] for j in found.jobs}
    assert verbs == {"check_health", "canary", "backup_db", "clean_up", "check_updates"}
