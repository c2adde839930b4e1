"""A canary and a real worker: qcluster in processes of its own, on a real Postgres."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as site
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ, Task
from django_q.tasks import async_task, result
from pytest_django import Settings

from apps.ops import canary
from apps.ops.broker import FirstInFirstOut
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.workers import Workers
from apps.ops.errors import StepFailed
from apps.ops.models import Canary
from apps.ops.stack.engine import Engine
from apps.ops.stack.service import Service
from tests.conftest import OpsSettingsFactory
from tests.integration.ops.conftest import NEW, OLD
from tests.servers import HUNG_SECONDS, PostgresServer, descendants

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def empty_queue(database: PostgresServer) -> None:
    OrmQ.objects.all().delete()
    Task.objects.all().delete()
    Canary.objects.all().delete()


class EngineOf(Engine):
    """Docker is not there in these tests: what it would say about the worker."""

    def __init__(self, image: str, release: str) -> None:
        super().__init__("test")
        self.worker = Service(
            name="django-q",
            container="c",
            status="running",
            health="healthy",
            release=release,
            image=image,
            started_at="",
            restarts=0,
            exit_code=0,
            address="",
        )
        self.has_the_row = True
        self.asked: list[list[str]] = []

    def service(self, name: str) -> Service:
        return self.worker

    def succeeds(self, name: str, argv: list[str]) -> bool:
        self.asked.append(argv)
        return argv[:2] != ["test", "!"] or not self.has_the_row

    def logs(self, name: str, *, lines: int) -> str:
        return "its last line"

    def tag(self, image: str, tag: str) -> None:
        pass

    def remove_strays(self, name: str) -> int:
        return 0


class WorkersOf(Workers):
    """The step, where containers are changed by taking a note of it."""

    def __init__(self, engine: EngineOf) -> None:
        self.engine = engine
        self.recreated: list[str] = []

    def _recreate(self, deploy: Deploy, release: str) -> None:
        self.recreated.append(release)
        image = "new" if release == NEW else "old"
        self.engine.worker = replace(self.engine.worker, image=image, release=release)


@pytest.fixture
def step(deploy: Deploy) -> WorkersOf:
    engine = EngineOf("old", OLD)
    deploy.engine = engine
    return WorkersOf(engine)


@contextmanager
def worker(server: PostgresServer, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        **server.environment,
        "RELEASE": NEW,
        "SECRET_KEY": site.SECRET_KEY,
    }
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HUNG_SECONDS)


def test_tasks_are_taken_in_the_order_they_came_and_a_canary_first() -> None:
    names = [f"task {n}" for n in range(3)]
    for name in names:
        async_task("time.sleep", 0, task_name=name)
    # Without an order, Postgres finds a changed row last.
    OrmQ.objects.filter(pk=OrmQ.objects.order_by("pk")[0].pk).update(key="site")
    canary.send()

    broker = get_broker()
    assert isinstance(broker, FirstInFirstOut)
    taken = [broker.dequeue()[0][0] for _ in range(4)]

    by_row = {row.pk: row.task["name"] for row in OrmQ.objects.all()}
    assert [by_row[row] for row in taken] == ["canary", *names]


def test_it_comes_back_before_a_thousand_tasks_and_leaves_nothing(
    database: PostgresServer, tmp_path: Path
) -> None:
    for _ in range(1000):
        async_task("time.sleep", 0.01)
    sent = canary.send()

    with worker(database, tmp_path):
        assert canary.wait(sent, seconds=HUNG_SECONDS) == NEW
        assert OrmQ.objects.count() > 500
    assert not Task.objects.filter(id=sent.task).exists()
    assert not OrmQ.objects.filter(pk=sent.place).exists()
    assert not Canary.objects.exists()


def test_a_worker_whose_processes_are_wedged_is_noticed(
    database: PostgresServer,
    tmp_path: Path,
    settings: Settings,
    ops_settings: OpsSettingsFactory,
) -> None:
    said = StringIO()
    with worker(database, tmp_path) as process:
        settings.OPS = ops_settings(canary_seconds=HUNG_SECONDS)
        call_command("canary", stdout=said)
        assert f"from release {NEW[:12]}." in said.getvalue()
        told = json.loads((settings.OPS.state_dir / "agent" / "canary").read_text())
        assert told["release"] == NEW
        assert told["seconds"] > 0
        assert datetime.fromisoformat(told["at"]) <= datetime.now(UTC)

        # As the kernel would: its guard, that would start the others again, is among them.
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        assert process.poll() is None
        settings.OPS = ops_settings(canary_seconds=1.0)
        with pytest.raises(SystemExit) as exited:
            call_command("canary", stderr=said)

    assert exited.value.code == 1
    assert "did not come back from the worker within 1 s" in said.getvalue()
    assert "Next: docker compose logs django-q" in said.getvalue()
    assert not OrmQ.objects.exists()


def test_one_that_fails_in_the_worker_is_told_without_what_it_said(
    database: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "ANSWER", "apps.ops.canary.not_there_yet")

    with worker(database, tmp_path), pytest.raises(canary.Failed) as failed:
        canary.wait(canary.send(), seconds=HUNG_SECONDS)
    assert failed.value.next == "docker compose logs django-q   # says why"
    assert not failed.value.output
    assert not Task.objects.exists()


@pytest.mark.parametrize("answer", ["", "\x1b]0;x\x07", "<b>", "a" * 39, "A" * 40, "b" * 40 + "\n"])
def test_an_answer_that_names_no_release_is_none(database: PostgresServer, answer: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ops_canary ALTER release TYPE text")
    sent = canary.send()
    Canary.objects.update(answered_at=timezone.now(), release=answer)

    with pytest.raises(StepFailed) as failed:
        canary.wait(sent, seconds=0)
    assert failed.value.found == "A canary task came back with what names no release."


def test_a_deployer_of_before_there_were_rows_is_told_by_the_result(
    database: PostgresServer, tmp_path: Path
) -> None:
    with worker(database, tmp_path):
        task = async_task(canary.ANSWER, q_options={"save": True})
        assert result(task, wait=int(HUNG_SECONDS * 1000)) == NEW


def test_rows_of_killed_commands_go_after_a_day() -> None:
    Canary.objects.create(uid="killed", sent_at=timezone.now() - canary.LEFT)
    Canary.objects.create(uid="waits", sent_at=timezone.now() - canary.LEFT / 2)

    sent = canary.send()

    assert set(Canary.objects.values_list("uid", flat=True)) == {"waits", sent.uid}


def test_what_ends_the_waiting_ends_it_at_once_and_takes_the_canary_back() -> None:
    def crashed() -> None:
        raise StepFailed("django-q crashed.")

    with pytest.raises(StepFailed, match="crashed"):
        canary.wait(canary.send(), seconds=HUNG_SECONDS, look=crashed)
    assert not OrmQ.objects.exists()


def test_canaries_of_a_killed_deployment_are_taken_back_and_nothing_else() -> None:
    async_task("time.sleep", 0)
    canary.send()

    assert canary.forget() == 1
    assert OrmQ.objects.count() == 1
    assert canary.forget() == 0


def test_without_postgres_it_says_so(database: PostgresServer) -> None:
    database.stop()

    with pytest.raises(StepFailed, match="Postgres does not answer, and it has the task queue"):
        canary.send()


def test_the_step_waits_for_a_canary_from_the_new_release(
    database: PostgresServer, tmp_path: Path, deploy: Deploy, step: WorkersOf
) -> None:
    with worker(database, tmp_path):
        assert "a canary task came back" in step.run(deploy)

    assert step.recreated == [NEW]
    assert deploy.intended("workers") == {"container": "c", "image": "old", "release": OLD}


def test_another_releases_answer_is_not_enough(
    database: PostgresServer, tmp_path: Path, deploy: Deploy, step: WorkersOf
) -> None:
    deploy.plan = replace(deploy.plan, commit=replace(deploy.plan.commit, sha="d" * 40))

    with worker(database, tmp_path), pytest.raises(StepFailed, match=f"release {NEW[:12]}: ano"):
        step.run(deploy)


def test_a_release_whose_worker_answers_otherwise_takes_tasks(
    database: PostgresServer,
    tmp_path: Path,
    deploy: Deploy,
    step: WorkersOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As its worker sees it: a function that takes nothing.
    monkeypatch.setattr(canary, "ANSWER", "django.utils.timezone.now")
    with worker(database, tmp_path):
        with pytest.raises(StepFailed, match="failed in the worker") as failed:
            step.run(deploy)
        assert failed.value.output == "its last line"

        step.engine.has_the_row = False
        assert "it takes tasks; its release has no canary of this kind" in step.run(deploy)
    assert (ROOT / step.engine.asked[-1][-1]).exists()


def test_a_worker_that_takes_no_task_fails_the_step(deploy: Deploy, step: WorkersOf) -> None:
    deploy.settings = replace(deploy.settings, start_seconds=0.0, canary_seconds=0.2)

    with pytest.raises(StepFailed, match=r"did not come back from the worker within 0\.2 s") as e:
        step.run(deploy)
    assert e.value.output == "its last line"


def test_a_worker_that_restarts_is_not_waited_for(deploy: Deploy, step: WorkersOf) -> None:
    step.engine.worker = replace(step.engine.worker, restarts=1)

    with pytest.raises(StepFailed, match="django-q crashed"):
        step.run(deploy)


def test_the_old_worker_is_put_back_once_however_often_it_is_undone(
    deploy: Deploy, step: WorkersOf
) -> None:
    assert not step.undo(deploy)

    deploy.intend("workers", image="old", release=OLD)
    step.engine.worker = replace(step.engine.worker, image="new", release=NEW)
    assert step.undo(deploy)
    assert step.undo(deploy)

    assert step.recreated == [OLD]
    assert step.engine.worker.image == "old"
