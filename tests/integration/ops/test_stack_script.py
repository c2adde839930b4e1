"""docker/supervisor/stack, as it is, on a small project and the real engine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ops.small_project import BOOT_SECONDS, COMPOSE, IMAGE, Project

pytestmark = pytest.mark.slow

POINT_TO_GREEN = "mkdir -p /srv/edge/live; touch /srv/edge/live/green"
BROKEN = (
    "services:\n  broken: {image: 'nobody/has:this', pull_policy: never, entrypoint: [nothing]}\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.destroy()


def test_a_colour_that_was_never_deployed_is_left_alone(project: Project) -> None:
    project.deployed("blue")
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "django-a is live and healthy" in booted.stdout
    assert project.running() == {"caddy", "django-a"}


def test_who_is_live_is_asked_of_the_edge(project: Project) -> None:
    project.deployed("blue", "green")
    project.compose("run", "--rm", "-T", "--entrypoint", "sh", "caddy", "-c", POINT_TO_GREEN)
    (project.directory / ".env").open("a").write("OPS_KEEP_STANDBY=False\n")
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "django-b is live and healthy" in booted.stdout
    assert project.running() == {"caddy", "django-b"}


def test_where_nothing_was_deployed_nothing_is_started(project: Project) -> None:
    booted = project.boot()

    assert (booted.returncode, booted.stdout) == (0, "stack: nothing was deployed yet\n")
    assert project.running() == set()


def test_a_running_deployment_is_waited_for(project: Project) -> None:
    project.deployed("blue")
    container = project.client.containers.run(
        IMAGE,
        entrypoint=["sh", "-c", "sleep 60 # manage.py deploy"],
        detach=True,
        labels={
            "com.docker.compose.project": project.name,
            "com.docker.compose.oneoff": "True",
            "com.docker.compose.service": "utility",
        },
    )
    with subprocess.Popen(**project.script(), stdout=subprocess.PIPE, text=True) as booting:
        assert booting.stdout
        assert booting.stdout.readline() == "stack: a deployment runs: waiting for its end\n"
        assert project.running() == {"utility"}
        container.remove(force=True)
        assert booting.wait(BOOT_SECONDS) == 0
    assert project.running() == {"caddy", "django-a"}


def test_one_service_that_cannot_start_does_not_keep_the_others_down(project: Project) -> None:
    project.deployed("blue", "green")
    compose = COMPOSE.format(image=IMAGE, project=project.name)
    project.write(compose.replace("services:\n", BROKEN))
    booted = project.boot()

    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "broken did not come up" in booted.stdout
    assert project.running() == {"caddy", "django-a", "django-b"}


def test_a_live_colour_that_does_not_get_healthy_is_said(project: Project) -> None:
    project.deployed("blue")
    compose = COMPOSE.format(image=IMAGE, project=project.name)
    project.write(compose.replace('"true"', '"false"'))
    booted = project.boot(STACK_SECONDS="8")

    assert booted.returncode == 1
    assert "Next: docker compose logs --tail 50 django-a" in booted.stdout
