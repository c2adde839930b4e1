from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.guard import require_idle
from apps.ops.deploys.proof import require_running, smoke, wait_until_ready
from apps.ops.deploys.standby import grace
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.watch import Watch
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.stack.service import Service


class Start(Step):
    """Start the candidate in the idle colour and prove it: on its own address, then through the
    front door's preview route."""

    name = "start"

    def run(self, deploy: Deploy) -> str:
        plan, settings = deploy.plan, deploy.settings
        service = plan.candidate.service
        require_idle(deploy, plan.candidate)
        standby = deploy.engine.service(service)
        warm = is_warm(deploy, standby)
        # The preflight may have let it give way.
        gave_way = (deploy.intended("preflight") or {}).get("standby")
        deploy.intend(
            self.name,
            warm=warm,
            container=standby.container if standby else "",
            image=standby.image if standby else "",
            release=standby.release if standby else "",
            running=standby is not None and (standby.running or standby.container == gave_way),
        )
        deploy.look_at_the_front_door()
        with deploy.edge.preview(plan.candidate) as token:
            address = f"{standby.address}:8000" if warm and standby else self._start(deploy)
            deploy.watch = Watch(address, host=settings.site_host, path=deploy.ready_path)
            wait_until_ready(deploy, deploy.watch)
            smoke(deploy, address, token="" if deploy.nobody_served else token)
        return f"{service} is ready" + (", and was running" if warm else "")

    def _start(self, deploy: Deploy) -> str:
        """The candidate's own address, once its container runs."""
        service = deploy.plan.candidate.service
        compose = deploy.compose(deploy.plan.commit.sha)
        try:
            with deploy.whole():
                compose.recreate(service, stop_seconds=grace(deploy), say=deploy.say)
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
        before = deploy.intended(self.name)
        if before is None or before["warm"]:
            return False
        require_idle(deploy, deploy.plan.candidate)
        service, settings = deploy.plan.candidate.service, deploy.settings
        if not (before["running"] and deploy.engine.has_image(before["image"])):
            deploy.engine.remove(service, seconds=settings.web_stop_grace_seconds)
            return True
        # The warm way back was here before: put it back.
        deploy.engine.tag(before["image"], deploy.plan.candidate.value)
        now = deploy.engine.service(service)
        # The very container that was there may have been told to stop, and stop only later.
        replaced = now is not None and now.container != before.get("container")
        if not (replaced and now and now.running and now.image == before["image"]):
            deploy.compose(before["release"]).recreate(
                service, stop_seconds=settings.web_stop_grace_seconds, say=deploy.say
            )
        deploy.engine.remove_strays(service)
        return True


def is_warm(deploy: Deploy, standby: Service | None) -> bool:
    """Whether a rollback finds its release running in the idle colour."""
    release = deploy.plan.commit.sha
    return (
        deploy.kind == "rollback"
        and standby is not None
        and standby.running
        and not standby.restarts
        and standby.release == release
        and standby.image == deploy.engine.image_id(release)
        and bool(standby.address)
    )
