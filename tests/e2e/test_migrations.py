"""Migrations on a database that a live release uses: what is refused, what is paused for, what
waits for the bake, and what visitors notice of a failure or of a table that somebody holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from time import time
from typing import Any

import pytest

from tests.e2e.conftest import RATE, Scene
from tests.e2e.test_bad_deployments import assert_said, assert_untouched
from tests.rig.load import Traffic, visitors
from tests.rig.report import Ledger
from tests.rig.stack import DEPLOY_SECONDS, Result, ScratchStack

# A visitor who waited as long was queueing behind the migration; it gives way after 1 s.
HUNG_SECONDS = 10.0

MIGRATION = """\
from django.db import migrations, models


def fail(apps, editor):
    apps.get_model("home", "Message").objects.update(hue="odd")
    raise RuntimeError("the data is odd")


class Migration(migrations.Migration):
    {phase}
    dependencies = [("home", "{leaf}")]
    operations = [migrations.{operation}]
"""
COLUMN = "    {name} = models.CharField(max_length=10, null=True)\n"
FIRST_FIELD = "    name = models.CharField"
FAILS = "RunPython(fail, migrations.RunPython.noop)"


def migrate(project: Path, name: str, operation: str, *, phase: str = "") -> None:
    """Write a migration of one operation on top of those that are there."""
    folder = project / "apps/home/migrations"
    leaf = max(path.stem for path in folder.glob("[0-9]*.py"))
    line = f'phase = "{phase}"' if phase else ""
    text = MIGRATION.format(phase=line, leaf=leaf, operation=operation)
    (folder / f"{int(leaf[:4]) + 1:04d}_{name}.py").write_text(text)


def adding(*names: str) -> Callable[[Path], None]:
    """A change that gives Message nullable columns, each in a migration of its own."""

    def change(project: Path) -> None:
        models = project / "apps/home/models.py"
        for name in names:
            field = COLUMN.format(name=name)
            models.write_text(models.read_text().replace(FIRST_FIELD, field + FIRST_FIELD, 1))
            added = f'AddField("message", "{name}", models.CharField(max_length=10, null=True))'
            migrate(project, f"add_{name}", added)

    return change


def removing(name: str, *, phase: str = "") -> Callable[[Path], None]:
    def change(project: Path) -> None:
        models = project / "apps/home/models.py"
        field = COLUMN.format(name=name)
        assert field in models.read_text()
        models.write_text(models.read_text().replace(field, ""))
        migrate(project, f"remove_{name}", f'RemoveField("message", "{name}")', phase=phase)

    return change


def renaming(old: str, new: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        models = project / "apps/home/models.py"
        text = models.read_text()
        models.write_text(text.replace(COLUMN.format(name=old), COLUMN.format(name=new)))
        migrate(project, f"rename_{old}", f'RenameField("message", "{old}", "{new}")')

    return change


def failing_after_a_column(project: Path) -> None:
    adding("hue")(project)
    migrate(project, "fail", FAILS)


@pytest.fixture(scope="module", autouse=True)
def columns(stack: ScratchStack) -> None:
    """The live release inserts rows with columns that later releases do not want."""
    stack.commit("A shade and a tint", adding("shade", "tint"))
    assert stack.deploy().code == 0


def test_a_migration_that_breaks_the_live_release_is_refused_before_anything_is_touched(
    stack: ScratchStack, scene: Scene
) -> None:
    sha = stack.commit("Without the shade", removing("shade"), branch="breaks")
    schema, backups = schema_of(stack), backups_of(stack)

    result = stack.deploy("breaks")

    assert result.code == 5, result.output
    assert_said(result, "breaks the live release", "manage.py deploy --maintenance")
    found = result.event("ended")["error"]["found"]
    assert "home_message.shade" in found
    assert "a migration of its own with phase = 'contract'" in found
    assert steps_of(result)[-1] == "preflight"
    assert (schema_of(stack), backups_of(stack)) == (schema, backups)
    assert_untouched(scene)
    row = scene.history(result)
    assert (row["status"], row["release"], row["exit_code"]) == ("failed", sha, 5)


def test_with_maintenance_it_is_applied_behind_the_page_and_after_a_backup(
    stack: ScratchStack,
) -> None:
    sha = stack.commit("Without the shade", removing("shade"))

    with visitors(stack.port, rate=RATE, slow_rate=1.0) as traffic, asking(stack.port) as answers:
        result = stack.deploy("--maintenance")

    assert result.code == 0, result.output
    assert "shade" not in columns_of(stack)
    paused, resumed = at(result, "succeeded", "pause"), at(result, "started", "resume")
    begun, ended = at(result, "started", "pause"), at(result, "succeeded", "resume")
    away = [answer for answer in answers if answer.status != 200]
    print(f"the page was up for {resumed - paused:.1f} s; {len(traffic.failed)} visitors saw it")
    assert {(a.status, a.retry_after, a.cache_control) for a in away} == {(503, "30", "no-store")}
    assert traffic.failed
    assert all(r.error.endswith(": 503") for r in traffic.failed), errors_of(traffic)
    assert all(r.ended > begun and r.begun < ended for r in traffic.failed)
    served = [r for r in traffic.requests if not r.error and r.color]
    assert not [r for r in served if r.ended > paused and r.begun < resumed]
    ledger = Ledger.of(stack, traffic)
    assert (ledger.lost, ledger.doubled, ledger.tasks_lost) == (0, 0, 0)

    now = stack.status()
    assert (now["maintenance"], now["problems"]) == (False, [])
    assert now["front_door"]["release"] == sha
    assert now["services"]["django-q"]["release"] == sha
    backup = backups_of(stack)[0]
    assert backup["number"], backup
    assert backup["reason"] == f"before the migrations of {sha[:12]}"
    assert "shade" in backed_up_columns(stack, backup["name"])


def test_a_migration_marked_contract_waits_for_the_bake_and_no_visitor_notices(
    stack: ScratchStack, scene: Scene
) -> None:
    sha = stack.commit("Without the tint", removing("tint", phase="contract"))
    seen: dict[str, set[str]] = {}

    def look(event: dict[str, Any]) -> None:
        if event["event"] == "step_started" and event["step"] in ("bake", "contract"):
            seen[event["step"]] = columns_of(stack)

    result = deploy_watched(stack, look)

    assert result.code == 0, result.output
    assert "tint" in seen["bake"]
    assert "tint" not in columns_of(stack)
    assert at(result, "succeeded", "bake") <= at(result, "started", "contract")
    old = scene.before["live"]
    contracted = result.event("step_succeeded", step="contract")["summary"]
    assert contracted == f"1 applied, {old} stopped"
    assert backups_of(stack)[0]["reason"] == f"before the migrations of {sha[:12]}"
    now = stack.status()
    assert now["front_door"]["release"] == sha
    assert now["colors"][old]["status"] == "exited"
    assert now["problems"] == []


def test_a_failing_migration_leaves_traffic_and_schema_where_they_were(
    stack: ScratchStack, scene: Scene
) -> None:
    sha = stack.commit("Fails on the data", failing_after_a_column, branch="fails")
    schema = schema_of(stack)

    result = stack.deploy("fails")

    assert result.code == 1, result.output
    assert_said(result, "The migrations failed (2 were to be applied", "showmigrations")
    output = result.event("ended")["error"]["output"]
    assert "RuntimeError: the data is odd" in output
    assert "Those before it were reversed: the schema is as it was." in output
    assert schema_of(stack) == schema
    assert_untouched(scene)
    row = scene.history(result)
    assert (row["status"], row["release"], row["exit_code"]) == ("failed", sha, 1)


def test_a_table_that_stays_in_use_ends_the_deployment_and_not_the_site(
    stack: ScratchStack, scene: Scene
) -> None:
    stack.commit("A column", adding("gloss"), branch="waits")
    schema = schema_of(stack)

    stack.write_env(OPS_LOCK_ATTEMPTS="2")
    try:
        with a_long_query(stack):
            result = stack.deploy("waits")
    finally:
        stack.write_env(OPS_LOCK_ATTEMPTS=None)

    assert result.code == 1, result.output
    assert_said(result, "The migrations failed", "showmigrations")
    assert "did not get its lock in 2 tries of 1 s" in result.event("ended")["error"]["output"]
    assert schema_of(stack) == schema
    assert_untouched(scene)


def test_a_migration_gives_way_to_a_long_query_and_is_applied_when_that_has_ended(
    stack: ScratchStack,
) -> None:
    sha = stack.commit("A column", adding("gloss"))
    tries: list[float] = []

    with visitors(stack.port, rate=RATE, slow_rate=1.0) as traffic, a_long_query(stack) as let_go:

        def watch(event: dict[str, Any]) -> None:
            if "a table that it changes is in use" in event.get("text", ""):
                tries.append(time())
                if len(tries) == 3:
                    let_go()

        result = deploy_watched(stack, watch)

    assert result.code == 0, result.output
    assert len(tries) >= 3
    assert "gloss" in columns_of(stack)
    assert stack.status()["front_door"]["release"] == sha
    assert not traffic.failed, errors_of(traffic)
    waited = [r.milliseconds for r in traffic.during(tries[0] - 2, tries[-1] + 1)]
    print(f"the slowest of {len(waited)} requests meanwhile: {max(waited):.0f} ms")
    assert max(waited) < HUNG_SECONDS * 1000


def deploy_watched(
    stack: ScratchStack,
    watch: Callable[[dict[str, Any]], None],
    *arguments: str,
    options: tuple[str, ...] = (),
) -> Result:
    """Deploy, and have `watch` called with each event while the deployment goes on."""
    process = subprocess.Popen(
        stack.manage_argv("deploy", "--format", "json", *arguments, options=options),
        cwd=stack.site,
        env=stack._shell(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    lines, events = [], []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("{"):
            events.append(json.loads(line))
            watch(events[-1])
    _, errors = process.communicate(timeout=DEPLOY_SECONDS)
    return Result(process.returncode, "".join(lines), errors, events)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after: str | None
    cache_control: str | None


@contextmanager
def asking(port: int) -> Iterator[list[Answer]]:
    """Ask for the front page ten times a second, as long as this lasts."""
    answers: list[Answer] = []
    stop = Event()

    def ask() -> None:
        while not stop.wait(0.1):
            connection = HTTPConnection("localhost", port, timeout=HUNG_SECONDS)
            try:
                connection.request("GET", "/")
                said = connection.getresponse()
                headers = said.getheader("Retry-After"), said.getheader("Cache-Control")
                answers.append(Answer(said.status, *headers))
            except (OSError, HTTPException):
                answers.append(Answer(0, None, None))
            finally:
                connection.close()

    thread = Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


@contextmanager
def a_long_query(stack: ScratchStack) -> Iterator[Callable[[], None]]:
    """A transaction that has read the guest book and does not end; it does when what this yields is
    called, or when this ends."""
    argv = ("exec", "-T", "-e", "PGAPPNAME=report", "postgres", "psql", "-U", "site", "-At")
    commands = ("BEGIN", "SELECT 'rows', count(*) FROM home_message", "SELECT pg_sleep(600)")
    process = subprocess.Popen(
        ["docker", "compose", *argv, *(part for c in commands for part in ("-c", c))],
        cwd=stack.site,
        env=stack._shell(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    def let_go() -> None:
        psql(
            stack,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'report'",
        )

    try:
        assert process.stdout
        assert any(line.startswith("rows|") for line in iter(process.stdout.readline, ""))
        yield let_go
    finally:
        let_go()
        process.communicate(timeout=HUNG_SECONDS)


def psql(stack: ScratchStack, sql: str) -> list[str]:
    argv = ("exec", "-T", "postgres", "psql", "-U", "site", "-At", "-c", sql)
    return stack.compose(*argv).output.splitlines()


def columns_of(stack: ScratchStack) -> set[str]:
    found = psql(
        stack,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'home_message'",
    )
    return set(found)


def schema_of(stack: ScratchStack) -> tuple[set[str], list[str]]:
    """The guest book's columns, and what Django believes to be applied."""
    applied = psql(stack, "SELECT app, name FROM django_migrations ORDER BY 1, 2")
    return columns_of(stack), applied


def backups_of(stack: ScratchStack) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(
        stack.look("backup_db", "--list", "--format", "json").output
    )
    return listed


def backed_up_columns(stack: ScratchStack, name: str) -> str:
    """The guest book's columns in a backup, read from the file, whose checksum is right."""
    read = (
        f"cd /var/backups/changeover && sha256sum --check --quiet {name}.sha256 && "
        f"pg_restore --data-only --table home_message --file - {name} | grep ^COPY"
    )
    return stack.compose("run", "--rm", "-T", "utility", "sh", "-c", read).output


def at(result: Result, when: str, step: str) -> float:
    event = result.event(f"step_{when}", step=step)
    return datetime.fromisoformat(event["time"]).timestamp()


def steps_of(result: Result) -> list[str]:
    return [event["step"] for event in result.events if event["event"] == "step_started"]


def errors_of(traffic: Traffic) -> list[str]:
    return sorted({request.error for request in traffic.failed})
