"""The last step: the utility service follows the release, on the real engine."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.agent import Agent, is_own_container
from apps.ops.errors import StepFailed
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from tests.servers import HUNG_SECONDS

COMPOSE = """
services:
  utility:
    image: {project}:utility
    pull_policy: never
    network_mode: none
    init: true
    stop_grace_period: 1s
    # With a job in its hands it takes its time.
    command:
      - sh
      - -c
      - "trap 'while [ -e /tmp/job ]; do sleep 0.1; done; exit' TERM; while :; do sleep 0.1; done"
"""


class OnTheCheckout(Deploy):
    """Without git: the release's compose files are those of the checkout."""

    def compose(self, release: str | None = None) -> Compose:
        path = self.checkout.path
        return Compose(self.settings.project, path, (path / "compose.yml",))


@pytest.fixture
def released(deploy: Deploy) -> Iterator[Deploy]:
    project = f"agent-step-{secrets.token_hex(4)}"
    deploy.__class__ = OnTheCheckout
    deploy.settings = replace(deploy.settings, project=project)
    deploy.engine = Engine(project)
    deploy.checkout.path.mkdir()
    (deploy.checkout.path / "compose.yml").write_text(COMPOSE.format(project=project))
    image(project, "one")
    yield deploy
    deploy.engine.remove("utility", seconds=0)
    subprocess.run(["docker", "rmi", f"{project}:utility"], check=False, capture_output=True)


def image(project: str, release: str) -> None:
    text = f"FROM python:3.13-slim-trixie\nLABEL changeover.release={release}\n"
    argv = ["docker", "build", "--quiet", "--tag", f"{project}:utility", "-"]
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


def release_of(deploy: Deploy) -> str:
    service = deploy.engine.service("utility")
    assert service
    assert service.running
    return service.release


def test_it_is_started_where_it_is_not_and_follows_the_release(released: Deploy) -> None:
    assert Agent().run(released) == f"it runs {released.plan.commit.short}"
    assert release_of(released) == "one"
    first = released.engine.service("utility")

    # Run again after a kill, it is there already.
    assert Agent().run(released).endswith("already")
    assert released.engine.service("utility") == first

    image(released.settings.project, "two")
    Agent().run(released)
    assert release_of(released) == "two"
    assert len(released.engine.services("utility")) == 1


def test_an_agent_with_a_job_in_its_hands_ends_it_beside_the_new_one(released: Deploy) -> None:
    Agent().run(released)
    old = released.engine.service("utility")
    assert old
    subprocess.run(["docker", "exec", old.container, "touch", "/tmp/job"], check=True)
    image(released.settings.project, "two")

    assert Agent().run(released).endswith("; the old one ends when its jobs have")

    assert release_of(released) == "two"
    assert {a.release for a in released.engine.services("utility") if a.running} == {"one", "two"}
    subprocess.run(["docker", "exec", old.container, "rm", "/tmp/job"], check=True)
    subprocess.run(["docker", "wait", old.container], check=True, timeout=HUNG_SECONDS)
    assert Agent().run(released).endswith("already")
    assert [a.release for a in released.engine.services("utility")] == ["two"]


def test_after_a_kill_between_the_two_the_old_one_is_ended(released: Deploy) -> None:
    Agent().run(released)
    image(released.settings.project, "two")
    released.compose().scale("utility", count=2, say=print)

    Agent().run(released)

    assert [a.release for a in released.engine.services("utility")] == ["two"]


def test_a_release_without_the_jobs_service_is_gone_back_to_without_it(released: Deploy) -> None:
    files = released.checkout.path / "compose.yml"
    without = files.read_text()
    with_jobs = without + without.removeprefix("\nservices:").replace("  utility:\n", "  jobs:\n")
    files.write_text(with_jobs)
    Compose(released.settings.project, files.parent, (files,)).scale("jobs", count=1, say=print)
    files.write_text(without)

    Agent().run(released)

    assert released.engine.services("jobs") == []


def test_it_does_not_end_the_container_that_it_runs_in(
    released: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Agent().run(released)
    image(released.settings.project, "two")
    service = released.engine.service("utility")
    assert service
    monkeypatch.setattr(socket, "gethostname", lambda: service.container[:12])

    with pytest.raises(StepFailed) as failed:
        Agent().run(released)

    assert failed.value.next.startswith("docker compose up --detach --no-deps")
    assert release_of(released) == "one"


def test_one_that_cannot_be_started_says_so_with_the_command_to_type(released: Deploy) -> None:
    (released.checkout.path / "compose.yml").write_text("services: [")
    with pytest.raises(StepFailed) as failed:
        Agent().run(released)
    assert failed.value.found.startswith("The agent of this release could not be started")
    assert failed.value.output


def test_a_container_with_a_host_name_of_its_own_knows_itself_too(tmp_path: Path) -> None:
    own = "3f" * 32
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"642 626 8:1 /var/lib/docker/containers/{own}/hostname /etc/hostname rw\n")

    assert is_own_container(own, proc=mounts)
    assert not is_own_container("ab" * 32, proc=mounts)
    assert not is_own_container(own, proc=tmp_path / "none")
