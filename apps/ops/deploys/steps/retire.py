from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic, sleep

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.guard import require_idle
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.static import publish
from apps.ops.edge.inflight import in_flight

# A request can have been routed, and not been counted yet, for an instant after the swap: nothing
# in flight is believed when it was seen this often, this far apart.
ZEROS = 3
LOOK_SECONDS = 0.05


class Retire(Step):
    """Let the old colour answer what it has, then stop it or keep it as the warm way back."""

    name = "retire"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        old, settings = deploy.plan.live, deploy.settings
        summary = "there was no old colour"
        service = deploy.engine.service(old.service)
        if service and service.status in ("running", "restarting"):
            drained = self._drain(deploy, old)
            summary = f"{old} {drained}"
            require_idle(deploy, old)
            if settings.keep_standby:
                summary += ", kept as standby"
            else:
                deploy.engine.stop(old.service, seconds=settings.web_stop_grace_seconds)
                summary += ", stopped"
        self._let_the_rest_follow(deploy)
        return summary

    def _drain(self, deploy: Deploy, old: Color) -> str:
        seconds = deploy.settings.drain_seconds
        begun = monotonic()
        zeros = 0
        count: int | None = None
        while monotonic() - begun < seconds:
            count = in_flight(deploy.settings.caddy_admin, old)
            zeros = zeros + 1 if count == 0 else 0
            if zeros == ZEROS:
                deploy.drained_at = datetime.now(UTC)
                return f"drained in {monotonic() - begun:.1f} s"
            sleep(LOOK_SECONDS)
        left = "Caddy does not tell how many" if count is None else f"{count}"
        deploy.warnings.append(
            f"{old} still had requests in flight after {seconds:g} s ({left}): raise "
            "OPS_DRAIN_SECONDS if they are ordinary. Next: manage.py status"
        )
        return f"not drained after {seconds:g} s"

    def _let_the_rest_follow(self, deploy: Deploy) -> None:
        """The checkout, the utility image and files without a hash in their name follow what is
        live; until here they fitted the old release."""
        release = deploy.plan.commit.sha
        if deploy.engine.image_id(deploy.plan.live.value) is None:
            # After a first deployment: `docker compose up` wants an image for each service.
            deploy.engine.tag(f"{deploy.settings.project}:{release}", deploy.plan.live.value)
        publish(deploy.plain_static, deploy.settings.static_dir)
        deploy.engine.tag(f"{deploy.settings.project}:utility-{release}", "utility")
        deploy.checkout.move_to(release)
