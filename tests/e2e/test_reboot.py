"""A reboot of the machine: everything stops, and what supervisor runs at boot brings it back."""

from __future__ import annotations

import os

import pytest

from tests.rig.load import visitors
from tests.rig.stack import Result, ScratchStack, run

BOOT_SECONDS = 400


def boot(stack: ScratchStack) -> Result:
    """What supervisor runs, in a shell that knows as little as supervisor's does."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "DOCKER_HOST")}
    script = stack.site / "docker/supervisor/stack"
    return run([str(script), "--once"], env=kept, seconds=BOOT_SECONDS, check=False)


def containers(stack: ScratchStack, *, running: bool = False) -> dict[str, str]:
    """Services' containers; never those of commands."""
    labels = [f"project={stack.project}", "oneoff=False"]
    flags = [part for x in labels for part in ("--filter", f"label=com.docker.compose.{x}")]
    flags += ["--format", '{{.Label "com.docker.compose.service"}} {{.ID}}']
    lines = run(["docker", "ps", *([] if running else ["--all"]), *flags]).output.splitlines()
    return dict(line.split() for line in lines)


def live_service(stack: ScratchStack) -> str:
    return {"blue": "django-a", "green": "django-b"}[stack.status()["live"]]


@pytest.fixture
def both_colours(stack: ScratchStack) -> dict[str, str]:
    """The services' containers, with a standby beside the live colour."""
    both = {"django-a", "django-b"}
    there = containers(stack, running=True)
    if not both <= there.keys():
        assert stack.deploy().code == 0
        there = containers(stack, running=True)
    assert both <= there.keys()
    return there


def test_after_a_reboot_the_same_colour_serves_without_a_hand(
    stack: ScratchStack, both_colours: dict[str, str]
) -> None:
    live = stack.status()["live"]
    run(["docker", "stop", "--time", "1", *both_colours.values()], seconds=120)
    assert containers(stack, running=True) == {}

    booted = boot(stack)

    assert booted.code == 0, booted.output + booted.errors
    assert f"{live_service(stack)} is live and healthy" in booted.output
    # The same containers: none was made anew, but that the jobs' may follow the release.
    now = containers(stack, running=True)
    assert {**both_colours, "jobs": now["jobs"]}.items() <= now.items()
    status = stack.status()
    assert (status["live"], status["front_door"]["status"]) == (live, 200)
    assert status["problems"] == []


def test_a_boot_of_what_runs_already_changes_nothing_and_nobody_notices(
    stack: ScratchStack, both_colours: dict[str, str]
) -> None:
    with visitors(stack.port, rate=20, slow_rate=0.5) as traffic:
        booted = boot(stack)

    assert booted.code == 0, booted.output + booted.errors
    now = containers(stack, running=True)
    assert {**both_colours, "jobs": now["jobs"]}.items() <= now.items()
    assert not traffic.failed


def test_containers_that_are_gone_are_made_again_and_the_same_colour_serves(
    stack: ScratchStack, both_colours: dict[str, str]
) -> None:
    live = stack.status()["live"]
    stack.compose("down", "--timeout", "1")

    booted = boot(stack)

    assert booted.code == 0, booted.output + booted.errors
    assert both_colours.keys() <= containers(stack, running=True).keys()
    status = stack.status()
    assert (status["live"], status["front_door"]["status"]) == (live, 200)


def test_a_standby_that_is_not_kept_stays_down(
    stack: ScratchStack, both_colours: dict[str, str]
) -> None:
    live = live_service(stack)
    standby = {"django-a": "django-b", "django-b": "django-a"}[live]
    stack.write_env(OPS_KEEP_STANDBY="false")
    run(["docker", "stop", "--time", "1", *both_colours.values()], seconds=120)
    try:
        booted = boot(stack)
        running = containers(stack, running=True)
    finally:
        stack.write_env(OPS_KEEP_STANDBY=None)
        boot(stack)

    assert booted.code == 0, booted.output + booted.errors
    assert standby not in running
    assert both_colours.keys() - {standby} <= running.keys()
