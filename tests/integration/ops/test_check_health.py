"""`check_health` as it is typed: a process of its own, with what hangs, and without Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.ops.health import state
from apps.ops.models import Check, Flip

if TYPE_CHECKING:
    from pytest_django import Settings

    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
HUNG_SECONDS = 60.0

CHECKS = """
import os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from apps.ops.health.result import HealthCheck, Status, bad, good, unknown

def up(settings):
    return good("It answers.", percent=12.5)

def down(settings):
    return bad("Nobody answers.", next="docker compose logs it")

def odd(settings):
    return unknown("Who knows?")

def crash(settings):
    raise SystemExit(77)

def pool(settings):
    # Python waits for such threads at its end.
    with ThreadPoolExecutor() as pool:
        pool.submit(threading.Event().wait).result()

def database(settings):
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return good("Postgres answers.")

def switch(settings):
    there = os.path.exists(os.environ["SWITCH"])
    return bad("It is off.", next="switch it on") if there else good("It is on.")

hangs = HealthCheck("hangs", lambda settings: threading.Event().wait(), Status.BAD, "kick it")
"""


class Ended:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def statuses(self) -> dict[str, str]:
        return {check["name"]: check["status"] for check in json.loads(self.out)["checks"]}


Type = Callable[..., Ended]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def own_checks(tmp_path: Path) -> tuple[str, ...]:
    """The paths of checks of this project's own, in a module on `tmp_path`."""
    (tmp_path / "own_checks.py").write_text(CHECKS)
    names = ("up", "down", "odd", "crash", "pool", "database", "switch", "hangs", "missing")
    return tuple(f"own_checks.{name}" for name in names)


@pytest.fixture
def ops(
    tmp_path: Path,
    own_checks: tuple[str, ...],
    database: PostgresServer,
    settings: Settings,
    ops_settings: OpsSettingsFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> OpsSettings:
    """The same for a command in this process."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    settings.OPS = ops_settings(health_checks=own_checks)
    return settings.OPS


@pytest.fixture
def typed(
    tmp_path: Path, state_dir: Path, own_checks: tuple[str, ...], database: PostgresServer
) -> Type:
    """Type a command; how it ended, and what it said."""
    connection.close()
    environment = {
        **os.environ,
        **database.environment,
        "PYTHONPATH": str(tmp_path),
        "OPS_STATE_DIR": str(state_dir),
        "OPS_EDGE_DIR": str(tmp_path / "edge"),
        "OPS_CHECKOUT": str(tmp_path / "checkout"),
        "OPS_HEALTH_CHECKS": ",".join(own_checks),
        # Where nothing hangs, nothing waits for it.
        "OPS_HEALTH_SECONDS": str(HUNG_SECONDS / 2),
        "SWITCH": str(tmp_path / "switch"),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
    }

    def type_it(*argv: str, **changes: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "manage.py", *argv],
            cwd=ROOT,
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=HUNG_SECONDS,
            check=False,
        )
        return Ended(done)

    return type_it


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("hangs",), 1),
        (("pool", "up"), 3),
        (("up", "nosuch"), 2),
    ],
)
def test_its_exit_code_says_how_it_is(typed: Type, names: tuple[str, ...], code: int) -> None:
    assert typed("check_health", *names, OPS_HEALTH_SECONDS="1").code == code


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("up",), 0),
        (("up", "down", "odd"), 1),
        (("up", "odd"), 3),
        (("crash",), 3),
        (("down", "odd", "--exit-zero"), 0),
        (("nosuch", "--exit-zero"), 2),
    ],
)
def test_its_exit_code_is_that_of_the_worst(
    ops: OpsSettings, names: tuple[str, ...], code: int
) -> None:
    with pytest.raises((SystemExit, CommandError)) as ended:
        call_command("check_health", *names)

    error = ended.value
    assert (error.code if isinstance(error, SystemExit) else error.returncode) == code


def test_a_pipe_gets_a_line_a_check_and_nothing_else(typed: Type) -> None:
    ended = typed("check_health", "up", "down", "odd")

    assert ended.err == ""
    lines = ended.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("up    ✓ good ")
    assert "✗ bad" in lines[1]
    assert lines[1].endswith("Nobody answers.  Next: docker compose logs it")
    assert lines[3] == "1 of 3 checks are good, 1 is bad, 1 could not be measured."


def test_a_table_is_for_eyes(typed: Type) -> None:
    ended = typed("check_health", "up", "down", "--force-color")

    assert "\x1b[" in ended.out
    assert "what was found" in ended.out


def test_everything_at_once_with_checks_that_hang_and_crash(typed: Type) -> None:
    ended = typed("check_health", "--format", "json", OPS_HEALTH_SECONDS="4")

    assert ended.code == 1
    assert "Traceback" not in ended.err
    statuses = ended.statuses()
    assert {"postgres", "docker", "disk", "service-caddy", "own_checks.missing"} <= set(statuses)
    assert statuses["up"] == statuses["database"] == "good"
    assert statuses["crash"] == statuses["pool"] == "unknown"
    assert statuses["hangs"] == "bad"
    (up,) = (c for c in json.loads(ended.out)["checks"] if c["name"] == "up")
    assert up["figures"] == {"percent": 12.5}


def test_an_unknown_name_is_said_with_what_there_is(typed: Type) -> None:
    ended = typed("check_health", "dwon")

    assert ended.code == 2
    assert 'There is no check "dwon". Did you mean down?' in ended.err
    assert "service-postgres" in ended.err
    assert "Traceback" not in ended.err


def test_a_path_that_leads_nowhere_is_a_finding_and_no_traceback(typed: Type) -> None:
    ended = typed("check_health", "own_checks.missing")

    assert ended.code == 3
    assert "own_checks.missing cannot be loaded: ImportError" in ended.out
    assert "Traceback" not in ended.err


def test_a_module_that_hangs_is_a_finding_and_holds_up_nobody(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text("import threading\nthreading.Event().wait()\n")

    ended = typed(
        "check_health", OPS_HEALTH_CHECKS="hanging.look,own_checks.up", OPS_HEALTH_SECONDS="4"
    )

    assert "hanging.look cannot be loaded: it did not load in time." in ended.out
    assert "up " in ended.out


def test_what_was_found_is_in_postgres_at_its_end(
    typed: Type, tmp_path: Path, state_dir: Path
) -> None:
    typed("check_health", "switch", "up")
    (tmp_path / "switch").touch()
    typed("check_health", "switch", "up")
    typed("check_health", "switch", "up")

    flips = Flip.objects.filter(check_of__name="switch").order_by("at")
    assert [(f.was, f.status) for f in flips] == [("", "good"), ("good", "bad")]
    assert Check.objects.get(name="switch").summary == "It is off."
    assert Check.objects.get(name="up").figures == {"percent": 12.5}
    assert Flip.objects.filter(check_of__name="up").count() == 1
    assert all(check.pending == [] for check in state.load(state_dir).values())


def test_while_postgres_is_down_nothing_is_lost(
    typed: Type, tmp_path: Path, state_dir: Path, database: PostgresServer
) -> None:
    typed("check_health", "switch", "database")
    database.stop()
    (tmp_path / "switch").touch()
    ended = typed("check_health", "switch", "database")

    assert ended.code == 1
    assert "Warning: Postgres does not have the last results yet" in ended.err
    assert "Traceback" not in ended.err
    assert state.load(state_dir)["switch"].status == "bad"
    shown = typed("health_history", "switch")
    assert shown.code == 1
    assert "✗ bad" in shown.out

    database.start()
    typed("check_health", "up")
    flips = Flip.objects.filter(check_of__name="switch").order_by("at")
    assert [f.status for f in flips] == ["good", "bad"]
    assert Check.objects.get(name="database").status == "unknown"


def test_a_postgres_that_hangs_holds_up_nobody(
    typed: Type, state_dir: Path, database: PostgresServer
) -> None:
    database.freeze()
    try:
        ended = typed("check_health", "--format", "json", OPS_HEALTH_SECONDS="4")
    finally:
        database.thaw()

    assert ended.code == 1
    assert ended.statuses()["postgres"] == "bad"
    assert ended.statuses()["up"] == "good"
    assert "Postgres does not have the last results yet" in ended.err
    assert state.load(state_dir)["database"].status == "unknown"


def test_a_state_directory_that_cannot_be_written_is_a_warning(
    typed: Type, state_dir: Path
) -> None:
    state_dir.write_text("a file")

    ended = typed("check_health", "up")

    assert ended.code == 0
    assert "✓ good" in ended.out
    assert "Warning: What was found cannot be remembered" in ended.err
    assert "What is bad is told in every round." in ended.err
    assert "Traceback" not in ended.err


def test_a_reader_who_leaves_early_leaves_no_traceback(typed: Type, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "manage.py", "check_health", "disk"],
            cwd=ROOT,
            env={**os.environ, "OPS_STATE_DIR": str(tmp_path / "other")},
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=HUNG_SECONDS,
            check=False,
        )

    assert "Traceback" not in done.stderr
    assert "disk" in state.load(tmp_path / "other")
