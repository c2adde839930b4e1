"""What the crontab wants is run once, by real processes; a tick is given the time that it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from apps.ops.agent import crontab
from apps.ops.agent.jobs import LATE, Jobs
from apps.ops.agent.runs import Runs
from apps.ops.models import JobRun
from tests.conftest import OpsSettingsFactory
from tests.servers import HUNG_SECONDS, PostgresServer, wait_until

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROOT = Path(__file__).parents[3]

Agent = Callable[..., Jobs]


@pytest.fixture
def runs(ops_settings: OpsSettingsFactory) -> Runs:
    return Runs(ops_settings().state_dir)


@pytest.fixture
def agent(runs: Runs, tmp_path: Path) -> Iterator[Agent]:
    """Make the jobs of an agent that has looked at this crontab at noon."""
    made: list[Jobs] = []

    def make(text: str, *, at: datetime = NOON) -> Jobs:
        jobs = Jobs(runs, cwd=tmp_path)
        jobs.use(crontab.parse(text, zone="UTC", seconds=HUNG_SECONDS).jobs)
        jobs.tick(at)
        made.append(jobs)
        return jobs

    yield make
    for jobs in made:
        jobs.stop()
        settle(jobs)


def settle(jobs: Jobs) -> None:
    def ended() -> bool:
        jobs.poll()
        return not jobs.busy

    wait_until(ended)


def rows(runs: Runs) -> list[tuple[str, str]]:
    runs.bring_in()
    return [(f"{run.due:%H:%M}", run.status) for run in JobRun.objects.order_by("due", "id")]


def append(path: Path) -> str:
    return f"* * * * * sh -c 'echo ran | tee -a {path}'"


db = pytest.mark.django_db


@db
def test_what_is_due_runs_once_and_leaves_its_row(agent: Agent, runs: Runs, tmp_path: Path) -> None:
    jobs = agent(append(tmp_path / "out"))
    assert not jobs.busy  # A new job begins with what is due from now on.

    for _ in range(3):
        jobs.tick(NOON + MINUTE)
    settle(jobs)

    assert (tmp_path / "out").read_text() == "ran\n"
    assert rows(runs) == [("12:01", "succeeded")]
    run = JobRun.objects.get()
    assert (run.exit_code, run.output) == (0, "ran")
    assert run.started_at
    assert run.finished_at
    assert not runs.files()


@db
def test_an_exit_code_and_a_command_that_is_not_there_are_failures(
    agent: Agent, runs: Runs
) -> None:
    jobs = agent("* * * * * sh -c 'echo no room; exit 3'\n* * * * * no-such-program")
    jobs.tick(NOON + MINUTE)
    settle(jobs)

    rows(runs)
    failed, missing = JobRun.objects.order_by("-job")
    assert (failed.status, failed.exit_code, failed.output) == ("failed", 3, "no room")
    assert (missing.status, missing.exit_code) == ("failed", None)
    assert "could not be started" in missing.output


@db
def test_at_its_deadline_a_job_and_what_it_started_is_ended(
    agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; echo begun; wait"
    jobs = agent(f"DEADLINE=1\n* * * * * sh -c '{script}'")
    jobs.tick(NOON + MINUTE)
    settle(jobs)

    assert rows(runs) == [("12:01", "timed out")]
    assert JobRun.objects.get().output == "begun"
    assert not is_alive(int(pids.read_text()))


@db
def test_one_that_ignores_sigterm_is_killed(
    agent: Agent, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.agent.child.GRACE_SECONDS", 0.2)
    jobs = agent("DEADLINE=1\n* * * * * sh -c \"trap '' TERM; while :; do sleep 0.1; done\"")
    jobs.tick(NOON + MINUTE)
    settle(jobs)

    assert rows(runs) == [("12:01", "timed out")]
    assert JobRun.objects.get().exit_code == -signal.SIGKILL


@db
def test_a_job_does_not_run_beside_itself_and_says_that_it_was_skipped(
    agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    jobs = agent(f"* * * * * cat {gate}")
    jobs.tick(NOON + MINUTE)
    jobs.tick(NOON + 2 * MINUTE)
    gate.write_text("open\n")
    settle(jobs)

    assert rows(runs) == [("12:01", "succeeded"), ("12:02", "skipped")]


@db
def test_two_agents_by_mistake_run_nothing_twice(agent: Agent, runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    agents = [agent(append(out)), agent(append(out))]
    for minute in range(1, 6):
        for jobs in agents if minute % 2 else reversed(agents):
            jobs.tick(NOON + minute * MINUTE)
        for jobs in agents:
            settle(jobs)

    assert out.read_text() == "ran\n" * 5
    assert rows(runs) == [(f"12:0{n}", "succeeded") for n in range(1, 6)]


@db
def test_missed_runs_are_said_in_one_row_and_not_made_up_for(
    agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    agent(append(tmp_path / "out"))
    later = NOON + timedelta(hours=3, seconds=30)
    back = agent(append(tmp_path / "out"), at=later)
    settle(back)

    # The one that has only just been due still runs: a restart of the agent loses none.
    assert rows(runs) == [("14:59", "missed"), ("15:00", "succeeded")]
    missed = JobRun.objects.get(status="missed")
    times = "2026-11-23 12:01 to 2026-11-23 14:59 UTC"
    assert missed.output == f"179 runs were missed, {times}: nobody was there to run it."
    assert (tmp_path / "out").read_text() == "ran\n"


@db
def test_a_run_that_is_too_late_is_missed(agent: Agent, runs: Runs, tmp_path: Path) -> None:
    nightly = f"30 2 * * * touch {tmp_path / 'out'}"
    agent(nightly)
    night = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
    back = agent(nightly, at=night + LATE + timedelta(seconds=1))

    assert not back.busy
    assert rows(runs) == [("02:30", "missed")]
    assert JobRun.objects.get().output.startswith("1 run was missed, 2026-11-24 02:30 UTC")


@db
def test_a_year_of_absence_is_one_row_and_then_it_goes_on(
    agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    agent(append(tmp_path / "out"))
    later = NOON + timedelta(days=365, seconds=30)
    back = agent(append(tmp_path / "out"), at=later)
    back.tick(later + MINUTE)
    settle(back)

    assert [status for _, status in rows(runs)] == ["missed", "succeeded"]
    assert "more than 10000 runs" in JobRun.objects.get(status="missed").output


@db
def test_a_clock_that_was_far_ahead_does_not_silence_a_job(
    agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    jobs = agent(append(tmp_path / "out"), at=NOON + timedelta(days=400))
    jobs.tick(NOON)
    jobs.tick(NOON + MINUTE)
    settle(jobs)

    assert rows(runs) == [("12:01", "succeeded")]


@db
def test_secrets_do_not_come_into_the_rows_and_long_output_is_cut(
    agent: Agent, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_CLOUDFLARE_TOKEN", "very-secret-token")
    jobs = agent("* * * * * sh -c 'seq 1000; printf %5000s; echo; echo very-secret-token'")
    jobs.tick(NOON + MINUTE)
    settle(jobs)

    rows(runs)
    output = JobRun.objects.get().output
    assert "very-secret" not in output
    assert output.splitlines()[-1] == "•••"
    assert len(output.splitlines()) == 200
    assert len(output) < 10_000


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- Killed, and without Postgres -----------------------------------------------------------------

AN_AGENT = """
import os, sys, time
from datetime import datetime
from pathlib import Path
import django; django.setup()
from apps.ops.agent import crontab
from apps.ops.agent.jobs import Jobs
from apps.ops.agent.runs import Runs
state, text, now = Path(sys.argv[1]), sys.argv[2], datetime.fromisoformat(sys.argv[3])
if len(sys.argv) > 4:
    # Killed where this is called.
    place, _, name = sys.argv[4].rpartition(".")
    from django.utils.module_loading import import_string
    setattr(import_string(place), name, lambda *_, **__: os.kill(os.getpid(), 9))
jobs = Jobs(Runs(state), cwd=Path("/"))
jobs.use(crontab.parse(text, zone="UTC", seconds=600).jobs)
jobs.tick(now)
print("ticked", flush=True)
while True:
    jobs.poll()
    time.sleep(0.01)
"""


def kill_an_agent(state: Path, text: str, now: datetime) -> None:
    """One that has just started what was due."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    argv = [sys.executable, "-c", AN_AGENT, str(state), text, now.isoformat()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env) as process:
        assert process.stdout
        assert process.stdout.readline() == "ticked\n"
        process.kill()


@db
def test_killed_and_back_nothing_runs_twice_and_what_was_running_is_said_to_be_lost(
    agent: Agent, runs: Runs, tmp_path: Path, ops_settings: OpsSettingsFactory
) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    os.mkfifo(gate)
    text = f"* * * * * sh -c 'echo ran >> {out}; cat {gate}'"
    agent(text)
    kill_an_agent(ops_settings().state_dir, text, NOON + MINUTE)
    wait_until(lambda: out.exists() and out.read_text() == "ran\n")

    back = agent(text, at=NOON + MINUTE)
    back.tick(NOON + MINUTE + timedelta(seconds=30))
    assert not back.busy
    # It outlived its agent: as long as it runs, it is not lost, and is not started beside itself.
    assert rows(runs) == [("12:01", "running")]
    back.tick(NOON + 2 * MINUTE)
    assert rows(runs) == [("12:01", "running"), ("12:02", "skipped")]

    gate.write_text("")
    wait_until(lambda: rows(runs) == [("12:01", "lost"), ("12:02", "skipped")])
    assert out.read_text() == "ran\n"
    assert JobRun.objects.get(status="lost").finished_at


@db
@pytest.mark.parametrize(
    ("place", "after"),
    [
        # Before it is said: taken by the next agent.
        ("apps.ops.agent.runs.Runs.save", [("12:01", "succeeded")]),
        # Said, and not yet marked as taken: it has not begun, and is taken once more.
        ("apps.ops.agent.runs.Runs.set_last_due", [("12:01", "succeeded")]),
        # Marked, and not yet begun, for all that anybody can know: lost, and never taken again.
        ("apps.ops.agent.jobs.Child", [("12:01", "lost")]),
    ],
)
@pytest.mark.parametrize("history_looks_first", [False, True])
def test_killed_between_taking_and_starting_it_is_neither_lost_silently_nor_run_twice(
    agent: Agent,
    runs: Runs,
    tmp_path: Path,
    ops_settings: OpsSettingsFactory,
    place: str,
    after: list[tuple[str, str]],
    history_looks_first: bool,
) -> None:
    text = append(tmp_path / "out")
    agent(text)
    now = (NOON + MINUTE).isoformat()
    argv = [sys.executable, "-c", AN_AGENT, str(ops_settings().state_dir), text, now, place]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(argv, cwd=ROOT, env=env, timeout=HUNG_SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    if history_looks_first:
        runs.bring_in()

    settle(agent(text, at=NOON + MINUTE))

    assert rows(runs) == after
    assert (tmp_path / "out").exists() is (after[0][1] == "succeeded")


@db
def test_the_next_run_closes_the_one_that_was_lost(
    agent: Agent, runs: Runs, tmp_path: Path, ops_settings: OpsSettingsFactory
) -> None:
    text = append(tmp_path / "out")
    agent(text)
    kill_an_agent(ops_settings().state_dir, text, NOON + MINUTE)
    wait_until(lambda: (tmp_path / "out").exists())
    wait_until(lambda: (lock := runs.lock(text[10:])) is not None and os.close(lock) is None)

    back = agent(text, at=NOON + 2 * MINUTE)
    settle(back)

    assert rows(runs) == [("12:01", "lost"), ("12:02", "succeeded")]


@db
def test_a_row_that_claims_to_run_and_has_no_file_is_lost(runs: Runs) -> None:
    JobRun.objects.create(job="manage.py canary", due=NOON, started_at=NOON)
    assert rows(runs) == [("12:00", "lost")]


@db
def test_rows_of_the_other_services_jobs_are_not_closed(runs: Runs) -> None:
    JobRun.objects.create(job="thumbnails", due=NOON, started_at=NOON)
    mine = Runs(runs.directory.parent, mine=lambda job: job != "thumbnails")

    mine.bring_in()
    assert [row.status for row in JobRun.objects.all()] == ["running"]


def test_jobs_run_with_postgres_down_and_their_rows_come_later(
    database: PostgresServer, agent: Agent, runs: Runs, tmp_path: Path
) -> None:
    JobRun.objects.all().delete()
    connection.close()
    database.stop()
    jobs = agent(append(tmp_path / "out"))
    jobs.tick(NOON + MINUTE)
    settle(jobs)
    jobs.tick(NOON + 2 * MINUTE)
    settle(jobs)
    with pytest.raises(DatabaseError):
        runs.bring_in()
    assert (tmp_path / "out").read_text() == "ran\nran\n"

    database.start()
    assert rows(runs) == [("12:01", "succeeded"), ("12:02", "succeeded")]
    assert rows(runs) == [("12:01", "succeeded"), ("12:02", "succeeded")]
