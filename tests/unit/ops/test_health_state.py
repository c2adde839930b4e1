"""What is known of each check, without Postgres: the file, the flips, the uptime, the news."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.ops.health import state
from apps.ops.health.notify.news import Message, News, news_for
from apps.ops.health.result import Result, Status
from apps.ops.health.state import GAP, MAX_PENDING, Known
from apps.ops.health.uptime import uptime

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def seen(*statuses: str, every: timedelta = MINUTE, begin: datetime = NOON) -> Known:
    """A check that gave these results, one each time."""
    known = Known.new(begin)
    for number, status in enumerate(statuses):
        known.see(Result(Status(status), f"It is {status}."), begin + number * every)
    return known


def flips(known: Known) -> list[tuple[str, str]]:
    return [(change.was, change.status) for change in known.pending]


def test_only_a_change_is_kept() -> None:
    known = seen("good", "good", "bad", "bad", "good", "good")

    assert flips(known) == [("", "good"), ("good", "bad"), ("bad", "good")]
    assert known.since == NOON + 4 * MINUTE
    assert known.last_seen == NOON + 5 * MINUTE


def test_time_in_which_nobody_looked_is_not_known() -> None:
    known = seen("good", "good", every=GAP + MINUTE)

    assert flips(known) == [("", "good"), ("good", "unknown"), ("unknown", "good")]
    assert known.pending[1].at == NOON
    assert known.pending[1].summary == "Nobody looked."


def test_what_waits_for_postgres_is_bounded_and_stays_true() -> None:
    known = seen(*["good", "bad"] * MAX_PENDING)

    assert len(known.pending) == MAX_PENDING
    assert flips(known)[0] == ("", "unknown")
    assert known.pending[0].at == NOON
    assert known.pending[0].summary == "It changed too often."
    for before, after in zip(known.pending, known.pending[1:], strict=False):
        assert after.was == before.status
        assert before.at < after.at


def test_a_clock_that_is_set_back_does_not_leave_tomorrow_behind() -> None:
    known = seen("good", begin=NOON + 24 * HOUR)

    known.see(Result(Status.GOOD, ""), NOON)

    assert known.since == known.last_seen == NOON


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    known = seen("good", "bad", "unknown")
    known.figures, known.told = {"percent": 99.5, "n": 3, "is": "so"}, {"slack:1": "bad"}

    with state.changing(tmp_path / "state") as checks:
        checks["disk"] = known

    assert state.load(tmp_path / "state") == {"disk": known}
    assert [f.name for f in (tmp_path / "state").iterdir() if f.suffix == ".new"] == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"checks": 1}', b"\xff\xfe", b'{"checks": {"disk": {}}}'],
)
def test_a_file_that_makes_no_sense_is_not_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / state.FILE).write_bytes(content)

    assert state.load(tmp_path) == {}
    with state.changing(tmp_path) as checks:
        checks["disk"] = seen("good")
    assert state.load(tmp_path)["disk"].status == "good"


def test_one_check_that_makes_no_sense_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    with state.changing(tmp_path) as checks:
        checks["disk"], checks["clock"] = seen("good"), seen("good")
    path = tmp_path / state.FILE
    record = json.loads(path.read_text())
    record["checks"]["clock"]["since"] = "yesterday"
    path.write_text(json.dumps(record))

    assert list(state.load(tmp_path)) == ["disk"]


def test_without_room_for_a_new_file_the_old_one_is_written_over(tmp_path: Path) -> None:
    with state.changing(tmp_path) as checks:
        checks["disk"] = seen("good")
    path = tmp_path / state.FILE
    size, inode = path.stat().st_size, path.stat().st_ino
    # As on a full disk, no new file can be made there.
    (tmp_path / f".{state.FILE}.new").mkdir()

    with state.changing(tmp_path) as checks:
        checks["disk"].see(Result(Status.BAD, "The disk is full."), NOON + MINUTE)

    assert state.load(tmp_path)["disk"].summary == "The disk is full."
    assert (path.stat().st_size, path.stat().st_ino) == (size, inode), "no room was needed"


def test_a_state_directory_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(OSError, match="state"), state.changing(tmp_path / "state"):
        pass


def _count(directory: Path, times: int) -> None:
    for _ in range(times):
        with state.changing(directory) as checks:
            check = checks.setdefault("disk", seen("good"))
            check.figures["n"] = check.figures.get("n", 0) + 1


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(tmp_path, 25)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert state.load(tmp_path)["disk"].figures["n"] == 75


def test_uptime_counts_the_time_that_is_known() -> None:
    steps = [
        (NOON - 10 * HOUR, "bad"),
        (NOON - 3 * HOUR, "good"),
        (NOON - 2 * HOUR, "unknown"),
        (NOON - 1 * HOUR, "good"),
    ]

    up = uptime(steps, start=NOON - 4 * HOUR, last_seen=NOON - MINUTE, now=NOON)

    assert (up.bad, up.good, up.unknown) == (3600.0, 7200.0, 3600.0)
    assert up.percent == pytest.approx(66.667, abs=0.001)
    assert up.since == NOON - 4 * HOUR


def test_uptime_begins_with_the_first_result_and_ends_with_the_last() -> None:
    up = uptime(
        [(NOON - 2 * HOUR, "good")], start=NOON - 50 * HOUR, last_seen=NOON - HOUR, now=NOON
    )

    assert (up.good, up.bad, up.unknown) == (3600.0, 0.0, 3600.0)
    assert up.percent == 100
    assert up.since == NOON - 2 * HOUR


def test_uptime_of_nothing_is_not_known() -> None:
    assert uptime([], start=NOON - HOUR, last_seen=NOON, now=NOON).percent is None
    assert uptime([], start=NOON - HOUR, last_seen=NOON - HOUR, now=NOON).percent is None


def news(known: Known, **options: Any) -> list[str]:
    return [n.status for n in news_for("c", {"x": known}, after_seconds=120, **options)]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (["bad"], []),
        (["good", "bad", "bad"], []),
        (["good", "bad", "bad", "bad"], ["bad"]),
        (["bad", "bad", "good", "good", "good"], []),
        (["bad", "good"] * 10, []),
        (["bad", "unknown", "bad"], ["bad"]),
        (["bad", "bad", "bad", "unknown"], []),
        (["good", "unknown", "unknown", "unknown"], []),
    ],
)
def test_bad_is_told_when_it_has_lasted(statuses: list[str], told: list[str]) -> None:
    assert news(seen(*statuses)) == told


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (["bad", "good"], []),
        (["bad", "good", "good", "good"], ["good"]),
        (["bad", "good", "unknown", "good"], ["good"]),
        (["bad", "good"] * 10, []),
        (["good", "bad", "bad", "bad"], []),
        (["bad", "unknown", "unknown", "unknown"], []),
    ],
)
def test_good_again_is_told_once_it_has_lasted_to_who_was_told_bad(
    statuses: list[str], told: list[str]
) -> None:
    known = seen(*statuses)
    known.told = {"c": "bad"}

    assert news(known) == told
    known.told = {"c": "good", "another": "bad"}
    assert "good" not in news(known)


def told_of(statuses: list[str]) -> list[tuple[int, str]]:
    """What a channel is told of these results, one each minute, and in which minute."""
    known, told = Known.new(NOON), []
    for minute, status in enumerate(statuses):
        known.see(Result(Status(status), ""), NOON + minute * MINUTE)
        for item in news_for("c", {"x": known}, after_seconds=120):
            known.told["c"] = item.status
            told.append((minute, item.status))
    return told


def test_what_is_bad_most_of_the_time_is_told_once_and_so_is_its_end() -> None:
    """No time that it is bad lasts long enough."""
    told = told_of(["good"] * 60 + ["bad", "bad", "good"] * 60 + ["good"] * 60)

    assert [status for _, status in told] == ["bad", "good"]
    assert told[0][0] == 60 + 15
    assert 240 <= told[1][0] <= 250


def test_what_changes_every_minute_is_told_once_and_so_is_its_end() -> None:
    told = told_of(["good"] * 60 + ["bad", "good"] * 60 + ["good"] * 60)

    assert [status for _, status in told] == ["bad", "good"]


def test_what_flaps_slowly_is_not_told_each_time() -> None:
    """Three minutes are an outage of their own, at first."""
    told = told_of(["good"] * 60 + (["bad"] * 3 + ["good"] * 3) * 60 + ["good"] * 60)

    assert [status for _, status in told] == ["bad", "good", "bad", "good", "bad", "good"]
    assert told[-2][0] < 75, "it is known to flap from here on"
    assert told[-1][0] >= 60 + 360, "and this is its end"


def test_outages_that_are_apart_are_told_each_and_a_blip_is_not() -> None:
    outage = ["bad"] * 5 + ["good"] * 30
    blip = ["bad"] + ["good"] * 30

    told = told_of(["good"] * 60 + outage + blip + blip + outage)

    assert told == [(62, "bad"), (67, "good"), (159, "bad"), (164, "good")]


def test_what_comes_and_goes_is_told_as_that() -> None:
    known = seen(*["good"] * 20, *["bad", "good"] * 10, "bad")

    (item,) = news_for("c", {"x": known}, after_seconds=120)

    assert item.line == "BAD: x, since 2026-11-23 12:20 UTC: It is bad. It comes and goes."


def test_a_file_of_an_older_release_is_read(tmp_path: Path) -> None:
    known = seen("good", "bad")
    with state.changing(tmp_path) as checks:
        checks["disk"] = known
    path = tmp_path / state.FILE
    record = json.loads(path.read_text())
    del record["checks"]["disk"]["restless"]
    path.write_text(json.dumps(record))

    assert state.load(tmp_path)["disk"].restless == known.first_seen


def test_a_lock_that_may_only_be_read_can_be_taken(tmp_path: Path) -> None:
    """As on a read-only file system: here every root may write, so it asks what was opened."""
    path = tmp_path / state.LOCK
    with state.lock(path, seconds=0):
        flags = [
            fcntl.fcntl(int(link.name), fcntl.F_GETFL)
            for link in Path("/proc/self/fd").iterdir()
            if link.exists() and link.readlink() == path
        ]
        assert [flag & os.O_ACCMODE for flag in flags] == [os.O_RDONLY]
        with pytest.raises(TimeoutError), state.lock(path, seconds=0):
            pass


def test_a_message_names_what_is_bad_first_and_no_more_than_five() -> None:
    items = [News(f"c{n}", "bad", "Down.", "look", NOON) for n in range(7)]
    items.append(News("disk", "good", "Room again.", "", NOON))

    message = Message("example.org", items)

    assert message.subject == "[example.org] bad: c0, c1, c2, c3, c4 and 2 more; good again: disk"
    assert "BAD: c6, since 2026-11-23 12:00 UTC: Down. Next: look" in message.text
    assert message.text.endswith("good again: disk, since 2026-11-23 12:00 UTC: Room again.")
    assert json.loads(json.dumps(message.as_json()))["checks"][7]["name"] == "disk"
