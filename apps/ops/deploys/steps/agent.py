from __future__ import annotations

import socket
from pathlib import Path

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed

SERVICE = "utility"
# As the compose file declares it: the agent finishes the jobs that run.
STOP_SECONDS = 300.0
BY_HAND = f"docker compose up --detach --no-deps --no-build --force-recreate {SERVICE}"


class Agent(Step):
    """The agent follows the release, last of all: nothing after this needs the container it is in,
    and a deployment that it started runs in one of its own."""

    name = "agent"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        commit = deploy.plan.commit
        wanted = deploy.engine.image_id(SERVICE)
        there = deploy.engine.service(SERVICE)
        if there and there.running and there.image == wanted:
            return f"it runs {commit.short} already"
        if there and is_own_container(there.container):
            raise StepFailed(
                "This runs in the agent's own container, which it would end: the agent stays with "
                "the release it has.",
                next=BY_HAND,
            )
        try:
            with deploy.whole():
                deploy.compose(commit.sha).recreate(
                    SERVICE, stop_seconds=STOP_SECONDS, say=deploy.say
                )
        except ProgramFailed as error:
            raise StepFailed(
                "The agent could not be started: nothing of the crontab runs.",
                output=error.output,
                next=BY_HAND,
            ) from error
        return f"it runs {commit.short}"


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
