"""The agent on the real stack: it starts what is asked for in the admin, and nobody has to fix
what a kill left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from apps.ops.stack.engine import Engine
from tests.e2e.conftest import Scene
from tests.rig.stack import ScratchStack, run

HUNG_SECONDS = 240.0


def until(true: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + HUNG_SECONDS
    while not true():
        assert monotonic() < deadline, f"not {what} after {HUNG_SECONDS:g} s"
        sleep(1)


def ask(stack: ScratchStack, kind: str, ref: str) -> int:
    """What the admin's page does when somebody asks there; the deployment that the agent makes of
    it."""
    code = (
        "from apps.ops.deploys import requests\n"
        f"print(requests.ask({kind!r}, {ref!r}, by='ada', origin='192.0.2.7').pk)"
    )
    asked = int(stack.django_shell(code).strip().splitlines()[-1])
    code = "from apps.ops.models import Request\n"
    code += f"print(Request.objects.get(pk={asked}).deployment_id)"
    found: list[str] = []

    def taken() -> bool:
        found[:] = stack.django_shell(code).strip().splitlines()[-1:]
        return found != ["None"]

    until(taken, "taken")
    return int(found[0])


def row(stack: ScratchStack, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        stack.look("history", str(number), "--format", "json").output
    )
    return found


def test_the_agent_follows_the_release(stack: ScratchStack, scene: Scene) -> None:
    sha = stack.commit("For the agent", lambda project: None)
    assert stack.deploy().code == 0

    agent = Engine(stack.project).service("utility")

    assert agent is not None
    assert (agent.release, agent.status) == (sha, "running")


def test_the_sites_jobs_follow_too_and_have_neither_the_socket_nor_the_checkout(
    stack: ScratchStack, scene: Scene
) -> None:
    engine, live = Engine(stack.project), stack.status()["front_door"]["release"]
    until(lambda: [s.release for s in engine.services("jobs") if s.running] == [live], "followed")

    seen = """
        id -u
        [ ! -e /var/run/docker.sock ] && [ ! -e .env ] && [ ! -e "$0" ] && echo without
        touch /app/x || touch /var/lib/jobs/x /srv/media/x && rm /var/lib/jobs/x /srv/media/x
        grep CapEff /proc/self/status
    """
    [service] = [service for service in engine.services("jobs") if service.running]
    jobs = run(["docker", "exec", service.container, "sh", "-c", seen, str(stack.site)])
    assert jobs.output.split() == ["10001", "without", "CapEff:", "0000000000000000"]
    said = stack.compose(
        *("run", "--rm", "-T", "manage", "python", "manage.py", "shell", "--no-imports", "-c"),
        "import os; from apps.home.models import Message; Message.objects.count();"
        "print(os.getuid(), os.path.exists('/var/run/docker.sock'))",
    )
    assert said.output.splitlines()[-1] == "10001 False"


def test_what_is_asked_for_in_the_admin_is_done_once_by_the_agent(
    stack: ScratchStack, scene: Scene
) -> None:
    older = stack.status()["front_door"]["release"]
    sha = stack.commit("Asked for", lambda project: None)

    number = ask(stack, "deploy", "main")
    until(lambda: row(stack, number)["status"] not in ("queued", "running"), "deployed")

    done = row(stack, number)
    assert (done["status"], done["release"], done["exit_code"]) == ("succeeded", sha, 0)
    assert (done["requested_by"], done["requested_from"]) == (
        "ada, through the site",
        "192.0.2.7",
    )
    assert stack.status()["front_door"]["release"] == sha

    number = ask(stack, "rollback", "")
    until(lambda: row(stack, number)["status"] not in ("queued", "running"), "rolled back")

    assert row(stack, number)["status"] == "succeeded"
    assert stack.status()["front_door"]["release"] == older
    assert [d["requested_by"] for d in stack.status()["deployments"][:2]] == [
        "ada, through the site"
    ] * 2


@pytest.fixture(scope="module")
def quick(stack: ScratchStack) -> Iterator[None]:
    """An agent that recovers at once what it finds."""
    recreate = ("up", "--detach", "--no-deps", "--no-build", "--force-recreate", "utility")
    stack.write_env(OPS_RECOVER_AFTER_SECONDS="1")
    stack.compose(*recreate)
    yield
    stack.write_env(OPS_RECOVER_AFTER_SECONDS="86400")
    stack.compose(*recreate)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", [pytest.param("start", marks=pytest.mark.more), "retire"])
def test_a_killed_deployment_is_put_right_without_a_hand(
    stack: ScratchStack, scene: Scene, step: str
) -> None:
    stack.commit(f"To be killed in {step}", lambda project: None)
    deployment = stack.start_manage("deploy", "--format", "json")
    assert deployment.stdout
    for line in deployment.stdout:
        if '"step_started"' in line and f'"{step}"' in line:
            break
    run(["docker", "kill", *stack.containers("utility", one_off=True)])
    deployment.communicate(timeout=60)

    until(lambda: stack.status()["deployments"][0]["status"] != "running", "recovered")

    until(lambda: stack.status()["deploying"] is None, "ended")
    after = stack.status()
    assert after["problems"] == []
    assert after["deployments"][0]["status"] in ("interrupted", "succeeded")
