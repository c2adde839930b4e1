from __future__ import annotations

import os
import socket
from pathlib import Path
from time import monotonic, sleep

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.stack.followers import Followers, followers
from apps.ops.stack.service import Service

SERVICE = "utility"
# The agent has it follow; releases of before there was one run its jobs themselves.
JOBS_SERVICE = "jobs"
JOBS_STOP_SECONDS = 300.0
# An agent with nothing to do is gone by then; one that backs up is not waited for.
PATIENCE_SECONDS = 5.0
BY_HAND = f"docker compose up --detach --no-deps --no-build --force-recreate {SERVICE}"


class Agent(Step):
    """The agent follows the release, last of all: nothing after this needs the container it is in,
    and a deployment that it started runs in one of its own.

    The new one is started beside the old one, which is then asked to end: two agents do nothing
    twice, and neither a job that takes its time nor a kill in between leaves the server without.
    """

    name = "agent"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        engine, commit = deploy.engine, deploy.plan.commit
        found = followers(engine, SERVICE, image=engine.image_id(SERVICE))
        old = found.old
        if any(is_own_container(agent.container) for agent in old) and not _is_a_job():
            raise StepFailed(
                "This runs in the agent's own container, which it would end: the agent stays with "
                "the release it has.",
                next=BY_HAND,
            )
        self._renew(deploy, found)
        if not old and found.running:
            return f"it runs {commit.short} already"
        busy = not _have_ended(deploy, old)
        return f"it runs {commit.short}" + ("; the old one ends when its jobs have" if busy else "")

    def _renew(self, deploy: Deploy, found: Followers) -> None:
        compose = deploy.compose(deploy.plan.commit.sha)
        try:
            if not compose.has(JOBS_SERVICE):
                # Gone back to: its agent runs all jobs, and none beside itself.
                deploy.engine.remove(JOBS_SERVICE, seconds=JOBS_STOP_SECONDS)
            with deploy.whole():
                found.renew(deploy.engine, compose, say=deploy.say)
        except ProgramFailed as error:
            raise StepFailed(
                "The agent of this release could not be started; an older one may run.",
                output=error.output,
                next=BY_HAND,
            ) from error


def _have_ended(deploy: Deploy, agents: list[Service]) -> bool:
    """Remove those that end soon; whether all did. What is left the next one removes."""
    deadline = monotonic() + PATIENCE_SECONDS
    left = {agent.container for agent in agents}
    while left and monotonic() < deadline:
        for agent in deploy.engine.services(SERVICE):
            if agent.container in left and not agent.running:
                deploy.engine.remove_container(agent.container)
                left.remove(agent.container)
        sleep(0.1)
    return not left


def _is_a_job() -> bool:
    """Whether an agent runs this (`manage.py recover`): asked to end, it lets us end first."""
    return "CHANGEOVER_JOB" in os.environ


def is_own_container(container: str, *, proc: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether this process runs in a container.

    Args:
        container: its full id.
    """
    # Its host name is the start of its id unless somebody gave it another; Docker mounts
    # /etc/hostname from a directory that has the whole id.
    if container.startswith(socket.gethostname()):
        return True
    try:
        return container in proc.read_text()
    except OSError:
        return False
