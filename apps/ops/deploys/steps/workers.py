from __future__ import annotations

from time import monotonic, sleep

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed

SERVICE = "django-q"
TAG = "worker"
HEALTH_CHECK = ["python", "docker/healthcheck.py"]


class Workers(Step):
    """Consumers before producers: the worker changes before the web that queues tasks for it."""

    name = "workers"

    def __init__(self) -> None:
        self._acted = False
        self._image: str | None = None
        self._release = ""

    def run(self, deploy: Deploy) -> str:
        release = deploy.plan.commit.sha
        before = deploy.engine.service(SERVICE)
        self._image = before.image if before else None
        self._release = before.release if before else ""
        self._acted = True
        deploy.engine.tag(f"{deploy.settings.project}:{release}", TAG)
        self._recreate(deploy, release)
        self._wait(deploy)
        return f"{SERVICE} runs {deploy.plan.commit.short}"

    def undo(self, deploy: Deploy) -> bool:
        if not self._acted:
            return False
        if self._image and self._release:
            deploy.engine.tag(self._image, TAG)
            self._recreate(deploy, self._release)
        else:
            deploy.engine.remove(SERVICE, seconds=deploy.settings.worker_stop_grace_seconds)
            deploy.engine.untag(TAG)
        return True

    def _recreate(self, deploy: Deploy, release: str) -> None:
        compose, grace = deploy.compose(release), deploy.settings.worker_stop_grace_seconds
        try:
            with deploy.whole():
                compose.recreate(SERVICE, stop_seconds=grace, say=deploy.say)
        except ProgramFailed as error:
            raise StepFailed(
                f"{SERVICE} could not be started.",
                output=error.output,
                next=f"docker compose logs {SERVICE}",
            ) from error

    def _wait(self, deploy: Deploy) -> None:
        deadline = monotonic() + deploy.settings.start_seconds
        while not deploy.engine.succeeds(SERVICE, HEALTH_CHECK):
            service = deploy.engine.service(SERVICE)
            crashed = service is None or not service.running or service.restarts
            if crashed or monotonic() > deadline:
                raise StepFailed(
                    f"{SERVICE} crashed."
                    if crashed
                    else f"{SERVICE} was not healthy within {deploy.settings.start_seconds:g} s.",
                    output=deploy.engine.logs(SERVICE, lines=30),
                    next="mend the release and deploy again; its last lines are above",
                )
            sleep(0.1)
