"""The service of the site's jobs follows the agent, on the real engine."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator

import pytest

from apps.ops.agent import jobs_service
from apps.ops.agent.jobs_service import JobsService
from apps.ops.conf import OpsSettings
from apps.ops.processes import ProgramFailed
from apps.ops.stack.engine import Engine
from tests.conftest import OpsSettingsFactory
from tests.servers import wait_until

SERVICE = """
  {name}:
    image: {project}:{tag}
    pull_policy: never
    network_mode: none
    init: true
    stop_grace_period: 1s
    command: [sleep, infinity]
"""


class Site:
    """A project whose agent and jobs are containers that only sleep."""

    def __init__(self, settings: OpsSettings) -> None:
        self.settings, self.engine = settings, Engine(settings.project)
        settings.checkout.mkdir()
        services = (("utility", "utility"), ("jobs", "worker"))
        self.files = settings.checkout / settings.compose_files[0]
        self.files.write_text(
            "services:"
            + "".join(
                SERVICE.format(name=n, tag=tag, project=settings.project) for n, tag in services
            )
        )

    def image(self, tag: str, release: str) -> None:
        text = f"FROM python:3.13-slim-trixie\nLABEL changeover.release={release}\n"
        argv = ["docker", "build", "--quiet", "--tag", f"{self.settings.project}:{tag}", "-"]
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)

    def start_agent(self) -> None:
        project = ["--project-name", self.settings.project, "--file", str(self.files)]
        argv = ["docker", "compose", *project, "up", "--detach", "--no-recreate", "utility"]
        subprocess.run(argv, check=True, capture_output=True)

    def jobs(self) -> list[str]:
        return [s.release for s in self.engine.services("jobs") if s.running]


@pytest.fixture
def site(ops_settings: OpsSettingsFactory) -> Iterator[Site]:
    site = Site(ops_settings(project=f"jobs-service-{secrets.token_hex(4)}"))
    site.image("worker", "one")
    site.image("utility", "one")
    yield site
    for name in ("jobs", "utility"):
        site.engine.remove(name, seconds=0)
    for tag in ("worker", "utility"):
        site.engine.untag(tag)


def test_it_follows_the_agent_and_not_a_deployment_on_its_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_service, "AGAIN_SECONDS", 0.0)
    first = JobsService(site.settings, release="one")
    first.look()
    assert site.jobs() == ["one"]

    # The worker changes before the swap, and may be put back.
    site.image("worker", "two")
    first.look()
    JobsService(site.settings, release="one").look()
    assert site.jobs() == ["one"]

    second = JobsService(site.settings, release="two")
    second.look()
    assert "two" in site.jobs()

    def only_the_new_one_is_there() -> bool:
        second.look()
        return [s.release for s in site.engine.services("jobs")] == ["two"]

    wait_until(only_the_new_one_is_there)


def test_it_waits_for_an_agent_of_before_it_which_runs_the_sites_jobs(site: Site) -> None:
    site.image("utility", "zero")
    site.start_agent()
    site.image("utility", "one")
    service = JobsService(site.settings, release="one")

    service.look()
    assert site.jobs() == []

    site.engine.remove("utility", seconds=0)
    service.look()
    assert site.jobs() == ["one"]


def test_one_that_cannot_be_started_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = site.files.read_text()
    site.files.write_text("services: {}")
    service = JobsService(site.settings, release="one")
    with pytest.raises(ProgramFailed):
        service.look()
    site.files.write_text(right)

    service.look()
    assert site.jobs() == []  # Not every two seconds.
    monkeypatch.setattr(jobs_service, "monotonic", lambda: float("inf"))
    service.look()
    assert site.jobs() == ["one"]
