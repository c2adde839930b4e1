from __future__ import annotations

import os
import subprocess
import tempfile
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.models import Task
from pytest_django import Settings

from apps.ops.clean_up import clean_up
from apps.ops.conf import OpsSettings
from apps.ops.deploys.lock import deploy_lock, held_by
from apps.ops.models import Deployment, JobRun, Release
from tests.conftest import OpsSettingsFactory
from tests.servers import PostgresServer

db = pytest.mark.django_db


@pytest.fixture
def ops(
    ops_settings: OpsSettingsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OpsSettings:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return ops_settings(job_runs=3, project="clean-up-test", keep_releases=2)


def run(ops: OpsSettings) -> list[str]:
    said: list[str] = []
    assert clean_up(ops, say=said.append) == []
    return said


@db
def test_expired_sessions_go_and_the_others_stay(ops: OpsSettings) -> None:
    now = timezone.now()
    for key, hours in (("old", -1), ("new", 1)):
        Session.objects.create(
            session_key=key, session_data="", expire_date=now + timedelta(hours=hours)
        )
    run(ops)
    assert Session.objects.get().session_key == "new"


@db
def test_task_results_older_than_90_days_go(ops: OpsSettings) -> None:
    now = timezone.now()
    for name, days in (("old", 91), ("new", 89)):
        at = now - timedelta(days=days)
        Task.objects.create(id=name, name=name, func="f", started=at, stopped=at, success=False)

    assert "1 old task results removed" in run(ops)
    assert Task.objects.get().name == "new"


@db
def test_each_job_keeps_its_newest_runs_and_what_still_runs(ops: OpsSettings) -> None:
    noon = timezone.now()
    for job in ("a", "b"):
        for minute in range(5):
            due = noon - timedelta(minutes=minute)
            status = "running" if (job, minute) == ("b", 4) else "succeeded"
            JobRun.objects.create(job=job, due=due, status=status)

    assert "3 old runs of jobs removed" in run(ops)

    kept = [(r.job, round((noon - r.due).total_seconds() / 60)) for r in JobRun.objects.all()]
    assert sorted(kept) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2), ("b", 4)]


@db
def test_what_killed_deployments_left_goes_after_a_day(ops: OpsSettings) -> None:
    scratch = Path(tempfile.gettempdir())
    for name in ("deploy-old", "recover-old", "deploy-new", "other-old"):
        (scratch / name).mkdir()
        (scratch / name / "compose.prod.yml").write_text("")
        if name.endswith("old"):
            os.utime(scratch / name, (0, 0))

    assert "0 old images and 2 left directories removed" in run(ops)
    assert sorted(p.name for p in scratch.iterdir()) == ["deploy-new", "other-old"]


@db
def test_while_somebody_deploys_images_and_scratch_stay(ops: OpsSettings) -> None:
    (Path(tempfile.gettempdir()) / "deploy-old").mkdir()
    os.utime(Path(tempfile.gettempdir()) / "deploy-old", (0, 0))
    with deploy_lock(ops.state_dir, holder="grace deploys main"):
        [line] = [line for line in run(ops) if "images" in line]

    assert line.startswith("images stay until the next time. Another deployment is running: grace")
    assert (Path(tempfile.gettempdir()) / "deploy-old").exists()
    run(ops)
    assert held_by(ops.state_dir) is None


def image(ops: OpsSettings, release: str) -> None:
    text = (
        "FROM python:3.13-slim-trixie\n"
        f"LABEL changeover.project={ops.project} changeover.release={release}\n"
        'CMD ["sleep", "600"]\n'
    )
    tags = ["--tag", f"{ops.project}:{release}", "--tag", f"{ops.project}:utility-{release}"]
    argv = ["docker", "build", "--quiet", *tags, "-"]
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


def tags(ops: OpsSettings) -> set[str]:
    argv = ["docker", "images", "--format", "{{.Tag}}", ops.project]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return {tag for tag in said if not tag.startswith("utility-")}


@db
def test_images_of_old_releases_go_and_the_way_back_stays(ops: OpsSettings) -> None:
    releases = [letter * 40 for letter in "abc"]
    now = timezone.now()
    service = ["project=clean-up-test", "service=django-a", "oneoff=False"]
    labels = [part for x in service for part in ("--label", f"com.docker.compose.{x}")]
    started = ""
    try:
        for release in releases:
            image(ops, release)
            row = Release.objects.create(sha=release)
            Deployment.objects.create(
                status="succeeded", ref="main", release=row, started_at=now, finished_at=now
            )
        # What serves is not known: nothing is old.
        assert "0 old images and 0 left directories removed" in run(ops)

        argv = ["docker", "run", "--detach", "--init", "--network", "none", *labels]
        started = subprocess.run(
            [*argv, f"{ops.project}:{releases[2]}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        assert "1 old images and 0 left directories removed" in run(ops)
        assert tags(ops) == set(releases[1:])
    finally:
        if started:
            subprocess.run(["docker", "rm", "--force", started], check=True, capture_output=True)
        for release in releases:
            for tag in (release, f"utility-{release}"):
                argv = ["docker", "rmi", f"{ops.project}:{tag}"]
                subprocess.run(argv, check=False, capture_output=True)


def test_without_postgres_the_rest_is_done_and_the_command_ends_with_1(
    ops: OpsSettings, settings: Settings, database: PostgresServer
) -> None:
    settings.OPS = ops
    left = Path(tempfile.gettempdir()) / "deploy-old"
    left.mkdir()
    os.utime(left, (0, 0))
    said, errors = StringIO(), StringIO()
    connection.close()
    database.stop()
    with pytest.raises(SystemExit) as ended:
        call_command("clean_up", stdout=said, stderr=errors)

    assert ended.value.code == 1
    assert "1 left directories removed" in said.getvalue()
    assert "Postgres does not answer as it should" in errors.getvalue()
    assert "Next: docker compose ps --all postgres" in errors.getvalue()
