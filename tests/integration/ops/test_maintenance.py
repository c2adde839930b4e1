"""The maintenance page, by hand and in a deployment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.ops.deploys.context import Deploy, Options
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.steps.pause import Pause, Resume
from apps.ops.edge.files import Edge
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine
from tests.integration.ops.conftest import Run

if TYPE_CHECKING:
    from tests.conftest import Git, OpsSettingsFactory


@pytest.fixture(autouse=True)
def ops(settings: Settings, ops_settings: OpsSettingsFactory) -> Any:
    settings.OPS = ops_settings()
    return settings.OPS


def test_the_page_goes_up_and_down_and_says_who_and_why(ops: Any, run: Run) -> None:
    assert run("maintenance")[:2] == (0, "The maintenance page is down.\n")

    code, out, _ = run("maintenance", "on", "--reason", "new disks")

    assert code == 0
    assert re.match(r"The maintenance page is up, put up by ada, since .* UTC: new disks\.\n", out)
    assert "503 with Retry-After" in out
    assert run("maintenance")[1] == out
    assert run("maintenance", "off")[:2] == (
        0,
        "The maintenance page is down; blue answers visitors.\n",
    )
    assert not Edge(ops.edge_dir).in_maintenance()
    assert run("maintenance", "off")[:2] == (0, "The maintenance page was not up.\n")


def test_a_reason_goes_with_on_alone() -> None:
    with pytest.raises(CommandError) as caught:
        call_command("maintenance", "off", "--reason", "why")
    assert caught.value.returncode == 2


def test_the_page_may_go_up_while_a_deployment_runs_and_that_is_noted(ops: Any, run: Run) -> None:
    with deploy_lock(ops.state_dir, holder="grace deploys main"):
        code, out, _ = run("maintenance", "on")

    assert (code, "A deployment runs (grace deploys main" in out) == (0, True)


def test_the_page_of_a_deployment_that_runs_is_not_taken_from_it(ops: Any, run: Run) -> None:
    edge = Edge(ops.edge_dir)
    edge.maintenance_on(by="grace", reason="", deployment="7")
    with deploy_lock(ops.state_dir, holder="grace deploys main", uid="7"):
        code, _, err = run("maintenance", "off")
    assert (code, "manage.py cancel" in err) == (5, True)
    assert edge.in_maintenance()

    assert run("maintenance", "off")[0] == 0
    assert not edge.in_maintenance()


def test_an_edge_that_cannot_be_written_is_said(ops: Any, run: Run) -> None:
    Path(ops.edge_dir).write_text("a file")

    code, _, err = run("maintenance", "on")

    assert (code, err.startswith("The edge cannot be read or written")) == (1, True)
    assert "touch" in err


@pytest.fixture
def paused(deploy: Deploy) -> Deploy:
    """A deployment of a project without a worker, whose live colour Caddy tells nothing about."""
    deploy.uid = "20261123T120000-abcdef"
    deploy.options = Options(maintenance=True)
    deploy.settings = replace(deploy.settings, drain_seconds=0.1)
    return deploy


def test_a_deployment_without_maintenance_is_not_paused(deploy: Deploy) -> None:
    assert Pause().run(deploy) == "not asked for"
    assert Resume().run(deploy) == "it was not paused"
    assert Pause().undo(deploy) is False
    assert not deploy.edge.in_maintenance()


def test_the_page_is_up_from_pause_to_resume(paused: Deploy) -> None:
    written: list[tuple[str, bool]] = []
    paused.write_ahead = lambda step, facts: written.append((step, paused.edge.in_maintenance()))

    Pause().run(paused)

    assert written == [("pause", False)]
    assert paused.intended("pause") == {"was_up": False, "worker_ran": False}
    assert "still had requests in flight" in paused.warnings[0]
    page = paused.edge.maintenance()
    assert page is not None
    assert (page.by, page.deployment) == ("ada", paused.uid)
    assert Resume().run(paused) == "the maintenance page is down"
    assert Resume().run(paused) == "the maintenance page was down"


def test_undone_the_page_is_down_and_once_more_changes_nothing(paused: Deploy) -> None:
    Pause().run(paused)

    assert Pause().undo(paused) is True
    assert not paused.edge.in_maintenance()
    assert Pause().undo(paused) is False


COMPOSE = """
services:
  django-q:
    image: python:3.13-slim-trixie
    network_mode: none
    init: true
    entrypoint: [sleep, "600"]
"""


@pytest.fixture
def with_worker(paused: Deploy, git: Git) -> Iterator[Deploy]:
    """Its worker is a real container, made by Compose from the live release's own file."""
    live = git.push("Live", {"compose.prod.yml": COMPOSE})
    git.on_server("pull", "--quiet")
    project = f"pause-{secrets.token_hex(4)}"
    paused.settings = replace(paused.settings, project=project, checkout=git.checkout)
    paused.engine = Engine(project)
    paused.checkout = Checkout(git.checkout, remote="origin", branch="main")
    paused.plan = replace(paused.plan, live_release=live)
    try:
        paused.compose(live).ensure(["django-q"], say=print)
        yield paused
    finally:
        paused.engine.remove("django-q", seconds=1)


def test_the_worker_stops_and_is_started_again_as_it_was(with_worker: Deploy) -> None:
    before = with_worker.engine.service("django-q")
    assert before is not None

    assert Pause().run(with_worker).endswith(", django-q stopped")

    stopped = with_worker.engine.service("django-q")
    assert stopped is not None
    assert not stopped.running
    for _ in range(2):
        Pause().undo(with_worker)
        again = with_worker.engine.service("django-q")
        assert again is not None
        assert (again.image, again.running) == (before.image, True)


def test_a_page_that_a_person_put_up_stays_before_and_meanwhile(paused: Deploy) -> None:
    paused.edge.maintenance_on(by="grace", reason="mine")
    Pause().run(paused)
    assert Pause().undo(paused) is False
    assert "stays up" in Resume().run(paused)

    paused.edge.maintenance_off()
    Pause().run(paused)
    paused.edge.maintenance_on(by="grace", reason="and now mine")
    assert "stays up" in Resume().run(paused)

    assert paused.edge.in_maintenance()


def test_on_a_schema_that_could_not_be_put_back_the_page_stays_up(paused: Deploy) -> None:
    Pause().run(paused)
    paused.schema_is_new = True

    assert Pause().undo(paused) is False

    assert paused.edge.in_maintenance()
    assert "The schema could not be put back" in paused.warnings[-1]
    assert "manage.py deploy --maintenance" in paused.warnings[-1]
