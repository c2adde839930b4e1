"""Jobs on a state volume that is full, can only be read, or is not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.ops.agent import crontab
from apps.ops.agent.jobs import Jobs
from apps.ops.agent.runs import Runs
from tests.servers import HUNG_SECONDS, wait_until

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOBODY = 65534

Make = Callable[[Path, str], Jobs]


@pytest.fixture
def agent() -> Iterator[Make]:
    made: list[Jobs] = []

    def make(state: Path, text: str) -> Jobs:
        made.append(Jobs(Runs(state), cwd=Path("/")))
        made[-1].use(crontab.parse(text, zone="UTC", seconds=HUNG_SECONDS).jobs)
        made[-1].tick(NOON)
        return made[-1]

    yield make
    for jobs in made:
        jobs.stop()
        settle(jobs)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user may come into."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def settle(jobs: Jobs) -> None:
    def ended() -> bool:
        jobs.poll()
        return not jobs.busy

    wait_until(ended)


def append(path: Path) -> str:
    return f"* * * * * sh -c 'echo ran >> {path}'"


def run_twice(jobs: Jobs) -> None:
    """Two times that it is due, each looked at again and again."""
    for minute in (1, 2):
        for seconds in (0, 10, 20):
            jobs.tick(NOON + minute * MINUTE + timedelta(seconds=seconds))
            settle(jobs)


def test_on_a_disk_that_takes_nothing_jobs_still_run_and_only_once(
    agent: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = agent(tmp_path / "state", append(tmp_path / "out"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("apps.ops.agent.runs._write", full)
    run_twice(jobs)

    assert (tmp_path / "out").read_text() == "ran\n" * 2


def test_without_a_state_volume_jobs_still_run_once_and_never_beside_themselves(
    agent: Make, tmp_path: Path
) -> None:
    nowhere = Path("/proc/no-such-volume")  # Where nobody can make a directory.
    jobs = agent(nowhere, append(tmp_path / "out"))
    run_twice(jobs)
    assert (tmp_path / "out").read_text() == "ran\n" * 2

    gate = tmp_path / "gate"
    os.mkfifo(gate)
    jobs = agent(nowhere, f"* * * * * sh -c 'echo ran >> {tmp_path / 'slow'}; cat {gate}'")
    jobs.tick(NOON + MINUTE)
    jobs.tick(NOON + 2 * MINUTE)
    assert not jobs.start(jobs._jobs[0].command, ["true"], due=NOON, seconds=HUNG_SECONDS)
    gate.write_text("")
    settle(jobs)
    assert (tmp_path / "slow").read_text() == "ran\n"


def test_on_a_disk_that_can_only_be_read_jobs_run_and_their_locks_still_hold(
    agent: Make, shared: Path
) -> None:
    state, open_to_all = shared / "state", shared / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    text = append(open_to_all / "out")
    jobs = agent(state, text)
    job = jobs._jobs[0].command
    lock = Runs(state).lock(job)
    assert lock is not None

    for path in (*state.rglob("*"), state):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        assert Runs(state).lock(job) is None
        os.close(lock)
        run_twice(jobs)
    finally:
        os.seteuid(os.getuid())
        for path in (state, *state.rglob("*")):
            path.chmod(0o755)

    assert (open_to_all / "out").read_text() == "ran\n" * 2
