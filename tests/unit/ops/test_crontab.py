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


def test_manage_py_is_this_projects_and_quotes_work() -> None:
    argv = job("* * * * * manage.py backup_db --reason 'at night'").argv
    assert argv == [sys.executable, "manage.py", "backup_db", "--reason", "at night"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("61 * * * * canary", "bad minute in 61 * * * *"),
        ("* * * * *", "it is not five fields and a command"),
        ("@daily canary", "@daily is written 0 0 * * * here"),
        ("* * 31 2 * canary", "bad day-of-month in * * 31 2 *"),
        ("* * * * * canary 'now", "its command cannot be read: no closing quotation"),
        ("MAILTO=ops@example.org", "MAILTO cannot be set here; CRON_TZ and DEADLINE can"),
        ("CRON_TZ=Mars/Olympus", '"Mars/Olympus" is not a time zone; try Europe/Berlin'),
        ("CRON_TZ=../../etc/passwd", '"../../etc/passwd" is not a time zone; try Europe/Berlin'),
        ("CRON_TZ=", '"" is not a time zone; try Europe/Berlin'),
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
    ("command", "found"),
    [
        ("cd /srv/site && manage.py x >> log 2>&1", 'there is no shell for "cd"'),
        ("manage.py x >/dev/null 2>&1", 'there is no shell for ">"'),
        ("manage.py x 2>>log", 'there is no shell for "2>>"'),
        ("manage.py x < file", 'there is no shell for "<"'),
        ("manage.py x &> log", 'there is no shell for ">"'),
        ("manage.py x && manage.py y", 'there is no shell for "&&"'),
        ("manage.py x || true", 'there is no shell for "||"'),
        ("manage.py x | mail ann", 'there is no shell for "|"'),
        ("manage.py x; manage.py y", 'there is no shell for ";"'),
        ("manage.py x &", 'there is no shell for "&"'),
        ("(manage.py x)", 'there is no shell for "("'),
        ("sh -c 'manage.py x' >> log", 'there is no shell for ">>"'),
        ("manage.py x $(date)", 'there is no shell for "$("'),
        ('manage.py x "$(date)"', 'there is no shell for "$("'),
        ("manage.py x `date`", 'there is no shell for "`"'),
        ("manage.py x $HOME", 'there is no shell for "$HOME"'),
        ('manage.py x "${HOME}/y"', 'there is no shell for "${HOME"'),
        ("rm /tmp/*.log", 'there is no shell for "*"'),
        ("cat ~/x", 'there is no shell for "~"'),
        ("export A=1", '"export" is a shell\'s own'),
        (". /etc/profile", '"." is a shell\'s own'),
        ("A=1 manage.py x", "no shell sets variables here: put env before A=…"),
        ("manage.py x # nightly", "a comment has a line of its own"),
        ("root manage.py clean_up", '"root" is no program; if it is the user'),
        (
            "www-data-2 /usr/bin/python3 manage.py x",
            '"www-data-2" is no program; if it is the user',
        ),
        ("manage.py x +%F", '"%" ends a command in cron'),
        ("manage.py x '+\\%F'", 'in quotes "\\%" keeps its backslash here'),
    ],
)
def test_what_only_a_shell_or_cron_would_do_is_said(command: str, found: str) -> None:
    read = parse(f"* * * * * {command}")

    assert [(p.number, p.found.startswith(found)) for p in read.problems] == [(1, True)]
    assert not read.jobs


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'cd /srv && a | b > c; d $(e) %'",
        'bash -lc "x $HOME >> log 2>&1"',
        "/bin/sh -ec 'a && b'",
        "manage.py x 'a && b > c | $d `e` * ~ # %'",
        'manage.py x "a && b; c > d"',
        "manage.py x a\\&b +\\%F \\$HOME",
        'manage.py x "\\$HOME" a#b 5$ a~b',
        "curl 'https://example.org/?a=1&b=2'",
        "env A=1 manage.py x",
        "nice python manage.py x",
        "timeout 50 /app/x.sh",
        "manage.py x --user root",
    ],
)
def test_what_is_quoted_or_a_shells_own_argument_is_taken_as_it_stands(command: str) -> None:
    assert job(f"* * * * * {command}").command == command


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("@reboot manage.py x", "@reboot is not a time"),
        ("@hourly manage.py x with four more words", "@hourly is written 0 * * * * here"),
    ],
)
def test_a_nickname_is_said_with_its_fields(line: str, found: str) -> None:
    [problem] = parse(line).problems
    assert problem.found.startswith(found)


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
