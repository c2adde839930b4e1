from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.guard import require_idle
from apps.ops.deploys.proof import require_running, smoke, wait_until_ready
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.watch import Watch
from apps.ops.edge.inflight import in_flight
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.stack.engine import Service

# A standby that answers nothing still lingers on the connections that Caddy keeps open to it, for
# as long as gunicorn's graceful timeout: nobody waits for that.
IDLE_GRACE_SECONDS = 5


class Start(Step):
    """Start the candidate in the idle colour and prove it: on its own address, then through the
    front door's preview route."""

    name = "start"

    def __init__(self) -> None:
        self._standby: Service | None = None
        self._acted = False

    def run(self, deploy: Deploy) -> str:
        plan, settings = deploy.plan, deploy.settings
        service = plan.candidate.service
        require_idle(deploy, plan.candidate)
        self._standby = deploy.engine.service(service)
        self._acted = True
        with deploy.edge.preview(plan.candidate) as token:
            address = self._start(deploy)
            deploy.watch = Watch(address, host=settings.site_host)
            wait_until_ready(deploy, deploy.watch)
            smoke(deploy, address, token=token)
        return f"{service} is ready"

    def _start(self, deploy: Deploy) -> str:
        """The candidate's own address, once its container runs."""
        service = deploy.plan.candidate.service
        compose = deploy.compose(deploy.plan.commit.sha)
        try:
            with deploy.whole():
                compose.recreate(service, stop_seconds=_standby_grace(deploy), say=deploy.say)
        except ProgramFailed as error:
            raise StepFailed(
                f"{service} could not be started.",
                output=error.output,
                next=f"docker compose logs {service}",
            ) from error
        started = deploy.engine.service(service)
        if started is None or not started.address:
            require_running(deploy)
            raise StepFailed(
                f"{service} has no address on the stack's network.",
                next="manage.py status   # did somebody stop it? then deploy again",
            )
        return f"{started.address}:8000"

    def undo(self, deploy: Deploy) -> bool:
        if deploy.watch:
            deploy.watch.stop()
        if not self._acted:
            return False
        require_idle(deploy, deploy.plan.candidate)
        service, settings = deploy.plan.candidate.service, deploy.settings
        standby = self._standby
        if standby and standby.running and deploy.engine.has_image(standby.image):
            # The warm way back was here before: put it back.
            deploy.engine.tag(standby.image, deploy.plan.candidate.value)
            deploy.compose(standby.release).recreate(
                service, stop_seconds=settings.web_stop_grace_seconds, say=deploy.say
            )
        else:
            deploy.engine.remove(service, seconds=settings.web_stop_grace_seconds)
        return True


def _standby_grace(deploy: Deploy) -> int:
    """Seconds for the colour that gives way to stop in."""
    if in_flight(deploy.settings.caddy_admin, deploy.plan.candidate) == 0:
        return IDLE_GRACE_SECONDS
    return deploy.settings.web_stop_grace_seconds
