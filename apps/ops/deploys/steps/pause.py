"""With --maintenance: nobody and nothing works on the schema while it is changed."""

from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.drain import drain
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.workers import SERVICE
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.requester import Requester


class Pause(Step):
    """Put the maintenance page up, let the live colour answer what it has, stop the worker."""

    name = "pause"

    def run(self, deploy: Deploy) -> str:
        if not deploy.options.maintenance:
            return "not asked for"
        worker = deploy.engine.service(SERVICE)
        worker_ran = worker is not None and worker.running
        was_up = deploy.edge.in_maintenance()
        deploy.intend(self.name, was_up=was_up, worker_ran=worker_ran)
        if not was_up:
            self._put_up(deploy)
        drained = drain(deploy, deploy.plan.live)
        deploy.drained_at = None  # That is said of the colour that is retired.
        if worker_ran:
            deploy.engine.stop(SERVICE, seconds=deploy.settings.worker_stop_grace_seconds)
        page = "the maintenance page was up already" if was_up else "the maintenance page is up"
        stopped = f", {SERVICE} stopped" if worker_ran else ""
        return f"{page}, {deploy.plan.live} {drained}{stopped}"

    def undo(self, deploy: Deploy) -> bool:
        intended = deploy.intended(self.name)
        if intended is None:
            return False
        if deploy.schema_is_new:
            deploy.warnings.append(
                f"The schema could not be put back, and {deploy.plan.live} may not run on it: the "
                f"maintenance page stays up and {SERVICE} is not started. Next: fix the release, "
                "manage.py deploy --maintenance, then manage.py maintenance off; or "
                "manage.py restore_db"
            )
            return False
        if intended["worker_ran"]:
            self._start_worker(deploy)
        return _take_down(deploy) or bool(intended["worker_ran"])

    def _put_up(self, deploy: Deploy) -> None:
        try:
            deploy.edge.maintenance_on(
                by=Requester.now(deploy.settings).by,
                reason=f"release {deploy.plan.commit.short} is deployed",
                deployment=deploy.uid,
            )
        except OSError as error:
            raise StepFailed(
                f"The maintenance page could not be put up: {error}.",
                next="df -h   # is a disk full?",
            ) from error

    def _start_worker(self, deploy: Deploy) -> None:
        # Recreated, because one that runs may have been told to stop, and stop only later.
        compose, grace = deploy.compose(deploy.plan.live_release), deploy.settings
        try:
            with deploy.whole():
                compose.recreate(
                    SERVICE, stop_seconds=grace.worker_stop_grace_seconds, say=deploy.say
                )
        except ProgramFailed as error:
            raise StepFailed(
                f"{SERVICE} could not be started again.",
                output=error.output,
                next=f"docker compose start {SERVICE}",
            ) from error


class Resume(Step):
    """Take the maintenance page down, if this deployment put it up."""

    name = "resume"
    after_swap = True
    closes = True

    def run(self, deploy: Deploy) -> str:
        intended = deploy.intended(Pause.name)
        if intended is None:
            return "it was not paused"
        if _take_down(deploy):
            return "the maintenance page is down"
        if deploy.edge.in_maintenance():
            return "the maintenance page is not this deployment's: it stays up"
        return "the maintenance page was down"


def _take_down(deploy: Deploy) -> bool:
    """Whether it was up for this deployment: a person's stays."""
    page = deploy.edge.maintenance()
    if page is None or not page.deployment or page.deployment != deploy.uid:
        return False
    try:
        deploy.edge.maintenance_off()
    except OSError as error:
        raise StepFailed(
            f"The maintenance page could not be taken down: {error}.",
            next="manage.py maintenance off",
        ) from error
    return True
