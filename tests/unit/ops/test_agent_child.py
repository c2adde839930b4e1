"""A job's process, with all that it starts, is real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.ops.agent.child import MARK, Child
from apps.ops.redact import Redactor
from tests.servers import HUNG_SECONDS, wait_until

# As apps.ops.processes.run starts programs: each in a session of its own.
IN_A_SESSION = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"


def run(script: str, tmp_path: Path, *, seconds: float = HUNG_SECONDS) -> Child:
    """A script that is run to its end, whoever brings it about."""
    with (tmp_path / "lock").open("w") as lock:
        child = Child(
            ["sh", "-c", script],
            seconds=seconds,
            cwd=tmp_path,
            lock=lock.fileno(),
            redactor=Redactor([]),
        )
    wait_until(lambda: child.poll() is not None)
    return child


def is_alive(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(("end", "timed_out"), [("sleep 600", True), ("exit 0", False)])
def test_what_it_started_in_a_session_of_its_own_goes_with_it(
    tmp_path: Path, end: str, timed_out: bool
) -> None:
    script = f"""
        {sys.executable} -c '{IN_A_SESSION}' \\
            sh -c 'sleep 600 & echo $$ $! > pids; mv pids done; wait'
        until [ -e done ]; do sleep 0.01; done
        {end}
    """
    child = run(script, tmp_path, seconds=2 if timed_out else HUNG_SECONDS)

    assert child.timed_out is timed_out
    pids = (tmp_path / "done").read_text().split()
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_at_the_kill_what_ignores_sigterm_in_a_session_of_its_own_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.agent.child.GRACE_SECONDS", 0.1)
    script = f"""
        trap "" TERM
        {sys.executable} -c '{IN_A_SESSION}' sh -c 'echo $$ > pids; mv pids done; exec sleep 600'
        until [ -e done ]; do sleep 0.01; done
        exec sleep 600
    """
    child = run(script, tmp_path, seconds=2)

    assert child.timed_out
    assert not is_alive((tmp_path / "done").read_text().strip())


def test_what_another_job_started_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: "another"}
    with subprocess.Popen(["sleep", "600"], env=environment) as other:
        run("true", tmp_path)
        assert other.poll() is None
        other.kill()


def test_it_runs_in_the_name_of_the_agent_and_not_of_whoever_deployed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_REQUESTED_BY", "grace")
    monkeypatch.setenv("OPS_REQUESTED_FROM", "192.0.2.7")

    child = run("echo by $OPS_REQUESTED_BY from $OPS_REQUESTED_FROM.", tmp_path)

    assert child.tail() == "by the agent from ."
