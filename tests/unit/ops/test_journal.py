from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.ops.colors import Color
from apps.ops.deploys import journal
from apps.ops.deploys.journal import DIRECTORY, KEPT, Journal
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.story import Record, plan_as_record
from apps.ops.source import Commit

UID = "20261123T120000-0a1b2c"
COMMIT = Commit("b" * 40, "Zoë", datetime(2026, 11, 23, 12, tzinfo=UTC), "Sell “tea” in 茶 houses")
PLAN = Plan(COMMIT, Color.BLUE, "a" * 40, commits=[COMMIT], commits_total=1)
BEGUN = {
    "kind": "deploy",
    "ref": "main",
    "requested_by": "ada",
    "requested_from": "192.0.2.7",
    "options": {"bake": True},
    "override": "",
}
ENDED = {"status": "failed", "exit_code": 1, "warnings": [], "error": "", "traffic": "", "next": ""}
TOLD = [
    journal.record("begun", **BEGUN),
    journal.record("step_started", step="fetch", position=1),
    journal.record(
        "step_ended", step="fetch", status="succeeded", summary="Zoë", output="one\ntwo"
    ),
    journal.record("planned", plan=plan_as_record(PLAN)),
    journal.record("step_started", step="start", position=2),
    journal.record("intended", step="start", facts={"image": "sha256:1", "running": False}),
    journal.record("warned", warning="slow"),
    journal.record("undo_failed", step="start"),
    journal.record("ended", **ENDED),
]


def path(state: Path, uid: str = UID) -> Path:
    return state / DIRECTORY / f"{uid}.jsonl"


def tell(state: Path, *records: Record, uid: str = UID) -> Path:
    book = Journal(state, uid)
    for record in records:
        book.append(record)
    book.close()
    return path(state, uid)


def test_a_uid_sorts_as_it_was_given_and_names_a_file_that_is_found(tmp_path: Path) -> None:
    uid = journal.new_uid()
    tell(tmp_path, TOLD[0], uid=uid)

    assert uid > UID
    assert [story.uid for story in journal.stories(tmp_path)] == [uid]


def test_a_story_is_read_as_it_was_told(tmp_path: Path) -> None:
    story = journal.read(tell(tmp_path, *TOLD))

    assert (story.kind, story.ref, story.requested_by) == ("deploy", "main", "ada")
    assert story.options == {"bake": True}
    assert story.to_plan() == PLAN
    assert (story.steps["fetch"].status, story.steps["fetch"].output) == ("succeeded", "one\ntwo")
    assert story.intents == {"start": {"image": "sha256:1", "running": False}}
    assert story.warnings == ["slow"]
    assert story.ended == TOLD[-1]
    assert story.steps["start"].status == "failed"


def test_one_that_has_not_ended_or_could_not_take_all_back_is_unfinished(tmp_path: Path) -> None:
    assert journal.read(tell(tmp_path, *TOLD[:6])).unfinished
    assert journal.read(tell(tmp_path, *TOLD[6:])).unfinished

    story = journal.read(tell(tmp_path, journal.record("step_undone", step="start")))
    assert not story.unfinished


def test_a_file_cut_anywhere_tells_what_was_whole_before_the_cut(tmp_path: Path) -> None:
    whole = tell(tmp_path, *TOLD).read_bytes()
    lines = whole.splitlines(keepends=True)
    stories = [journal.read(tell(tmp_path / f"{n}", *TOLD[:n])) for n in range(1, len(TOLD) + 1)]
    empty = tmp_path / f"{UID}.jsonl"
    empty.touch()
    stories.insert(0, journal.read(empty))
    cut = path(tmp_path)

    for length in range(len(whole) + 1):
        cut.write_bytes(whole[:length])
        # A line that lacks only its end is whole, too.
        ends = [sum(map(len, lines[:n])) - 1 for n in range(1, len(lines) + 1)]
        assert journal.read(cut) == stories[sum(end <= length for end in ends)]


def test_after_a_cut_anywhere_the_next_line_is_whole(tmp_path: Path) -> None:
    before = tell(tmp_path, TOLD[0]).read_bytes()
    line = json.dumps(TOLD[5], ensure_ascii=False).encode() + b"\n"
    last = journal.record("warned", warning="it goes on")

    for length in range(len(line) + 1):
        path(tmp_path).write_bytes(before + line[:length])
        story = journal.read(tell(tmp_path, last))
        assert story.warnings == ["it goes on"]
        assert story.ref == "main"


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "teleported", "time": "2026-11-23T12:00:00+00:00", "to": "mars"}',
        b'{"event": "apply"}',
        b'{"event": "step_ended", "step": "never begun"}',
        b'{"event": "begun"}',
        b'{"event": null}',
        b"{}",
        b"[]",
        b'"begun"',
        b"null",
        b"7",
        b"",
        b"\xff\xfe\x00",
    ],
)
def test_a_line_that_means_nothing_to_this_release_is_left_out(tmp_path: Path, line: bytes) -> None:
    expected = journal.read(tell(tmp_path / "without", *TOLD))
    whole = tell(tmp_path, *TOLD)
    told = whole.read_bytes().splitlines()
    for position in range(len(told) + 1):
        whole.write_bytes(b"\n".join([*told[:position], line, *told[position:]]) + b"\n")
        assert journal.read(whole) == expected


def test_the_newest_comes_first_and_other_files_are_nobodys(tmp_path: Path) -> None:
    uids = [f"2026112{day}T120000-0a1b2c" for day in (1, 3, 2)]
    for uid in uids:
        tell(tmp_path, TOLD[0], uid=uid)
    (tmp_path / DIRECTORY / "notes.jsonl").write_text("{}")
    (tmp_path / DIRECTORY / f"{UID}.jsonl.swp").write_text("{}")

    assert [story.uid for story in journal.stories(tmp_path)] == sorted(uids, reverse=True)


def test_without_a_directory_there_are_no_stories(tmp_path: Path) -> None:
    assert list(journal.stories(tmp_path)) == []
    journal.prune(tmp_path)


def test_the_oldest_are_pruned_and_the_newest_stay(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).mkdir()
    uids = [f"20261123T12{n // 60:02}{n % 60:02}-0a1b2c" for n in range(KEPT + 3)]
    for uid in uids:
        path(tmp_path, uid).touch()

    journal.prune(tmp_path)

    left = sorted(file.stem for file in (tmp_path / DIRECTORY).iterdir())
    assert left == uids[3:]


def in_a_child(act: Callable[[], None]) -> None:
    """A process of its own, for limits that hold for a whole process."""
    child = os.fork()
    if not child:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("room", [0, 1, 20, 60])
def test_a_full_disk_is_an_error_and_the_next_line_is_readable(tmp_path: Path, room: int) -> None:
    begun = tell(tmp_path, TOLD[0])

    def fill() -> None:
        book = Journal(tmp_path, UID)
        book.append(TOLD[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (begun.stat().st_size + room, limit))
        try:
            book.append(journal.record("warned", warning="x" * 100))
        except OSError:
            pass
        else:
            raise AssertionError("it said that the line was written")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        book.append(journal.record("warned", warning="there is room again"))
        book.close()

    in_a_child(fill)

    story = journal.read(begun)
    assert story.warnings == ["there is room again"]
    assert list(story.steps) == ["fetch"]


def test_a_volume_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="Not a directory"):
        Journal(tmp_path / "file", UID).append(TOLD[0])
