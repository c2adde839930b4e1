from __future__ import annotations

from time import monotonic

from django.db.utils import Error as DatabaseProblem

from apps.ops import canary
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

    def run(self, deploy: Deploy) -> str:
        commit = deploy.plan.commit
        # Run again after a kill, what runs now may be ours already.
        if deploy.intended(self.name) is None:
            before = deploy.engine.service(SERVICE)
            deploy.intend(
                self.name,
                container=before.container if before else "",
                image=before.image if before else None,
                release=before.release if before else "",
            )
        deploy.engine.tag(f"{deploy.settings.project}:{commit.sha}", TAG)
        self._recreate(deploy, commit.sha)
        # At once: before the new worker boots and fetches tasks that the canary would wait for.
        sent = canary.send()
        return f"{SERVICE} runs {commit.short}, {self._came_back(deploy, sent)}"

    def undo(self, deploy: Deploy) -> bool:
        before = deploy.intended(self.name)
        if before is None:
            return False
        try:
            canary.forget()
        except DatabaseProblem:
            deploy.say("a canary task may be left in the queue; the next worker runs it")
        deploy.engine.remove_strays(SERVICE)
        if before["image"] and before["release"]:
            deploy.engine.tag(before["image"], TAG)
            now = deploy.engine.service(SERVICE)
            # The very container that was there may have been told to stop, and stop only later.
            replaced = now is not None and now.container != before.get("container")
            if not (replaced and now and now.running and now.image == before["image"]):
                self._recreate(deploy, before["release"])
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

    def _came_back(self, deploy: Deploy, sent: canary.Canary) -> str:
        settings, begun = deploy.settings, monotonic()
        healthy = False

        def look() -> None:
            nonlocal healthy
            _require_running(deploy)
            # Not asked before: each look is a process beside the worker's own start.
            if not healthy and monotonic() - begun > settings.start_seconds:
                healthy = deploy.engine.succeeds(SERVICE, HEALTH_CHECK)
                if not healthy:
                    seconds = f"{settings.start_seconds:g} s"
                    raise _failed(deploy, f"{SERVICE} was not healthy within {seconds}.")

        try:
            release = canary.wait(
                sent, seconds=settings.start_seconds + settings.canary_seconds, look=look
            )
        except canary.Failed as error:
            # What it said is a pickle: whether its release knows this canary is asked of its image.
            if deploy.engine.succeeds(SERVICE, ["test", "!", "-e", canary.ROW_SOURCE]):
                return "it takes tasks; its release has no canary of this kind"
            raise _failed(deploy, error.found) from error
        except canary.Lost as error:
            raise _failed(deploy, error.found) from error
        if release != deploy.plan.commit.sha:
            raise _failed(
                deploy,
                f"A canary task came back from release {release[:12]}: another worker takes tasks "
                "from this queue, or the image was built without RELEASE.",
            )
        return f"a canary task came back within {monotonic() - begun:.1f} s"


class WorkersAfter(Workers):
    """The same after the swap, for a rollback: traffic first, and what fails is a warning."""

    after_swap = True


def _require_running(deploy: Deploy) -> None:
    service = deploy.engine.service(SERVICE)
    if service is None or not service.running or service.restarts:
        raise _failed(deploy, f"{SERVICE} crashed.")


def _failed(deploy: Deploy, found: str) -> StepFailed:
    return StepFailed(
        found,
        output=deploy.engine.logs(SERVICE, lines=30),
        next="fix the release and deploy again; its last lines are above",
    )
