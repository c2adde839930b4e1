"""The agent as a process: started, fed with a crontab, stopped, killed, and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from apps.ops.agent.agent import Agent
from apps.ops.agent.hearing import Hearing
from apps.ops.agent.runs import Runs
from apps.ops.deploys import journal
from apps.ops.deploys.journal import Journal, new_uid
from apps.ops.interrupts import handling_signals
from apps.ops.models import Deployment, JobRun
from tests.conftest import OpsSettingsFactory
from tests.integration.ops.conftest import ASKED
from tests.servers import HUNG_SECONDS, PostgresServer, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
Start = Callable[[], "subprocess.Popen[bytes]"]


class Rig:
    """Agents on one state directory, one crontab and one database."""

    def __init__(self, tmp_path: Path, state: Path, server: PostgresServer) -> None:
        self.state, self.crontab = state, tmp_path / "crontab"
        self.heartbeat = state / "agent" / "heartbeat"
        self.log = tmp_path / "log"
        self.agents: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            **server.environment,
            "OPS_STATE_DIR": str(state),
            "OPS_CRONTAB": str(self.crontab),
            "OPS_EDGE_DIR": str(tmp_path / "edge"),
            "COMPOSE_PROJECT_NAME": "agent-test-without-containers",
        }
        self.crontab.write_text("")

    def start(self, *, role: str = "test") -> subprocess.Popen[bytes]:
        beat = self.heartbeat.stat().st_mtime_ns if self.heartbeat.exists() else 0
        with self.log.open("ab") as log:
            agent = subprocess.Popen(
                [sys.executable, "manage.py", "agent"],
                cwd=ROOT,
                env={**self._environment, "ROLE": role},
                stdout=log,
                stderr=log,
            )
        self.agents.append(agent)
        wait_until(lambda: self.heartbeat.exists() and self.heartbeat.stat().st_mtime_ns > beat)
        return agent

    def want(self, command: str) -> None:
        """A job that is due already: it was last seen a minute ago."""
        self.crontab.write_text(f"* * * * * {command}\n")
        Runs(self.state).set_last_due(command, datetime.now(UTC) - timedelta(minutes=1))

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def rig(
    tmp_path: Path, ops_settings: OpsSettingsFactory, database: PostgresServer
) -> Iterator[Rig]:
    JobRun.objects.all().delete()
    rig = Rig(tmp_path, ops_settings().state_dir, database)
    yield rig
    for agent in rig.agents:
        agent.kill()
        agent.wait(HUNG_SECONDS)


def statuses(job: str) -> list[str]:
    return list(JobRun.objects.filter(job=job).order_by("due").values_list("status", flat=True))


def test_it_runs_the_crontab_and_follows_its_changes(rig: Rig, tmp_path: Path) -> None:
    rig.crontab.write_text("nonsense\n")
    rig.start()
    wait_until(lambda: "line 1: it is not five fields and a command (nonsense)" in rig.said())

    job = f"touch {tmp_path / 'ran'}"
    rig.want(job)

    wait_until(lambda: (tmp_path / "ran").exists())
    wait_until(lambda: "succeeded" in statuses(job))


def test_beside_the_socket_it_runs_the_ops_commands_and_without_it_all_others(
    rig: Rig, tmp_path: Path
) -> None:
    lines = {"site": f"touch {tmp_path / 'ran'}", "own": "manage.py unfreeze --help"}

    for role, runs, other in (("utility", "own", "site"), ("jobs", "site", "own")):
        rig.crontab.write_text("".join(f"* * * * * {line}\n" for line in lines.values()))
        for line in lines.values():
            Runs(rig.state).set_last_due(line, datetime.now(UTC) - timedelta(minutes=1))
        agent = rig.start(role=role)
        wait_until(lambda: "succeeded" in statuses(lines[runs]))  # noqa: B023
        agent.terminate()
        agent.wait(HUNG_SECONDS)

        assert not statuses(lines[other])
        assert "1 of 2 jobs run here" in rig.said()
        JobRun.objects.all().delete()


def test_sigterm_lets_what_runs_end_and_takes_nothing_new(rig: Rig, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = f"sh -c 'touch {tmp_path / 'begun'}; cat {gate}'"
    rig.want(job)
    agent = rig.start()
    wait_until(lambda: (tmp_path / "begun").exists())

    agent.send_signal(signal.SIGTERM)
    wait_until(lambda: "what runs is waited for" in rig.said())
    assert agent.poll() is None
    gate.write_text("finished\n")

    assert agent.wait(HUNG_SECONDS) == 0
    # Its last word is in the history: the next agent has nothing to say about it.
    # On a busy machine one may be due, and missed, before the agent has begun.
    run = JobRun.objects.filter(job=job).exclude(status="missed").earliest("due")
    assert (run.status, run.output) == ("succeeded", "finished")


def test_a_second_signal_ends_what_runs(rig: Rig, tmp_path: Path) -> None:
    job = f"sh -c 'touch {tmp_path / 'begun'}; exec sleep 600'"
    rig.want(job)
    agent = rig.start()
    wait_until(lambda: (tmp_path / "begun").exists())

    agent.send_signal(signal.SIGTERM)
    wait_until(lambda: "what runs is waited for" in rig.said())
    agent.send_signal(signal.SIGTERM)

    assert agent.wait(HUNG_SECONDS) == 0
    # On a busy machine one may be due, and missed, before the agent has begun.
    run = JobRun.objects.filter(job=job).exclude(status="missed").earliest("due")
    assert (run.status, run.exit_code) == ("failed", -signal.SIGTERM)
    assert run.output == "The agent was stopped, and ended it."


def test_killed_in_the_middle_it_comes_back_and_says_what_was_lost(
    rig: Rig, tmp_path: Path
) -> None:
    out, gate = tmp_path / "out", tmp_path / "gate"
    os.mkfifo(gate)
    job = f"sh -c 'date +%M >> {out}; cat {gate}'"
    rig.want(job)
    agent = rig.start()
    wait_until(out.exists)
    agent.kill()
    agent.wait(HUNG_SECONDS)
    gate.write_text("")

    rig.start()

    wait_until(lambda: "lost" in statuses(job))
    minutes = out.read_text().split()
    assert len(minutes) == len(set(minutes))


def test_two_agents_by_mistake_do_nothing_twice(rig: Rig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = f"sh -c 'date +%M >> {out}'"
    rig.start()
    rig.start()
    rig.want(job)

    wait_until(lambda: "succeeded" in statuses(job))
    minutes = out.read_text().split()
    assert len(minutes) == len(set(minutes))


def test_without_postgres_it_starts_and_runs_and_tells_later(
    rig: Rig, tmp_path: Path, database: PostgresServer
) -> None:
    job = f"touch {tmp_path / 'ran'}"
    rig.want(job)
    connection.close()
    database.stop()
    rig.start()
    wait_until(lambda: (tmp_path / "ran").exists())

    database.start()

    wait_until(lambda: "succeeded" in statuses(job))


def test_a_postgres_that_hangs_holds_up_neither_jobs_nor_the_heartbeat(
    rig: Rig, tmp_path: Path, database: PostgresServer
) -> None:
    rig.start()
    database.freeze()
    try:
        rig.want(f"touch {tmp_path / 'ran'}")
        wait_until(lambda: (tmp_path / "ran").exists())
        beat = rig.heartbeat.stat().st_mtime_ns
        wait_until(lambda: rig.heartbeat.stat().st_mtime_ns > beat)
    finally:
        database.thaw()


def test_what_a_dead_deployment_left_is_recovered_and_the_history_knows(
    rig: Rig, tmp_path: Path
) -> None:
    uid = new_uid()
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    begun = {**journal.record("begun", **ASKED, override=""), "time": long_ago}
    Journal(rig.state, uid).append(begun)

    rig.start()

    wait_until(lambda: Deployment.objects.filter(uid=uid, status="interrupted").exists())
    wait_until(lambda: "succeeded" in statuses("manage.py recover"))


def test_a_connection_that_was_closed_under_it_is_made_anew(
    ops_settings: OpsSettingsFactory, tmp_path: Path, database: PostgresServer
) -> None:
    agent = Agent(ops_settings(), root=tmp_path)
    was_closed: list[bool] = []

    def look() -> None:
        was_closed.append(connection.connection is None)
        cursor = connection.cursor()
        cursor.close()
        cursor.execute("SELECT 1")  # InterfaceError: no DatabaseError.

    thread = agent._thread("history", look)
    wait_until(lambda: len(was_closed) == 2)
    agent._ended.set()
    thread.join(HUNG_SECONDS)

    assert all(was_closed)


def test_check_says_each_bad_line_and_ends_with_2(
    settings: Settings,
    ops_settings: OpsSettingsFactory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "crontab"
    path.write_text("* * * * * manage.py canary\n61 * * * * manage.py canary\n")
    settings.OPS = ops_settings(crontab=path)

    with pytest.raises(SystemExit) as ended:
        call_command("agent", "--check")

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "manage.py canary   (utility, UTC, deadline 3600 s)" in said.out
    assert f"{path}, line 2: bad minute in 61 * * * *" in said.err
    assert "Next: fix these lines, then: manage.py agent --check" in said.err


def test_check_of_the_projects_own_crontab_is_content(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("agent", "--check", "--format", "json")
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert all(job["next"] for job in told["jobs"])


@pytest.fixture
def engine_socket(tmp_path: Path) -> Iterator[tuple[Path, socket.socket, Path]]:
    """Where a container sees the socket that it was given, who listens, and where it lies.

    What a mounted socket is when its name is gone, an open descriptor of it is, too."""
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()
        given = os.open(path, os.O_PATH)
        yield Path(f"/proc/{os.getpid()}/fd/{given}"), engine, path
        os.close(given)


def test_a_socket_is_dead_when_it_is_gone_and_nobody_listens(
    engine_socket: tuple[Path, socket.socket, Path],
) -> None:
    given, engine, path = engine_socket
    hearing = Hearing(given, seconds=0)

    assert not hearing.is_lost()
    engine.close()
    assert not hearing.is_lost(), "an engine that is down may come back to it"
    path.unlink()
    assert hearing.is_lost()
    assert not Hearing(given, seconds=60).is_lost(), "it waits a while"


def test_an_agent_whose_engine_was_started_anew_ends_to_be_started_anew(
    engine_socket: tuple[Path, socket.socket, Path],
    database: PostgresServer,
    ops_settings: OpsSettingsFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given, engine, path = engine_socket
    monkeypatch.setenv("DOCKER_HOST", f"unix://{given}")
    engine.close()
    path.unlink()

    with handling_signals(lambda *_: None):  # And its own, away again.
        Agent(ops_settings(), root=ROOT, deaf_seconds=0).run()

    assert "Docker was started anew and cannot be reached" in caplog.text


def test_the_containers_health_check_wants_a_fresh_heartbeat_and_the_engine(
    engine_socket: tuple[Path, socket.socket, Path], tmp_path: Path
) -> None:
    given, engine, _ = engine_socket
    heartbeat = tmp_path / "agent" / "heartbeat"
    environment = {
        **os.environ,
        "ROLE": "utility",
        "OPS_STATE_DIR": str(tmp_path),
        "DOCKER_HOST": f"unix://{given}",
    }

    def healthy() -> bool:
        argv = [sys.executable, "docker/healthcheck.py"]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, check=False)
        return done.returncode == 0

    assert not healthy()
    heartbeat.parent.mkdir()
    heartbeat.touch()
    assert healthy()
    os.utime(heartbeat, (0, 0))
    assert not healthy()
    heartbeat.touch()
    engine.close()
    assert not healthy()
