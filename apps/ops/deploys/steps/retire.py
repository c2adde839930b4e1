from __future__ import annotations

from django.conf import settings as site

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.drain import drain
from apps.ops.deploys.guard import require_idle
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.static import plain_files, publish
from apps.ops.deploys.steps.swap import STANDBY_CPU_SHARES


class Retire(Step):
    """Let the old colour answer what it has, then stop it or keep it as the warm way back."""

    name = "retire"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        old, settings = deploy.plan.live, deploy.settings
        summary = "there was no old colour"
        service = deploy.engine.service(old.service)
        if service and service.status in ("running", "restarting"):
            drained = drain(deploy, old)
            summary = f"{old} {drained}"
            require_idle(deploy, old)
            if settings.keep_standby and not _is_superuser(deploy, old):
                deploy.engine.share_cpu(old.service, STANDBY_CPU_SHARES)
                summary += ", kept as standby"
            else:
                deploy.engine.stop(old.service, seconds=settings.web_stop_grace_seconds)
                summary += ", stopped"
        self._let_the_rest_follow(deploy)
        return summary

    def _let_the_rest_follow(self, deploy: Deploy) -> None:
        """The checkout, the utility image and files without a hash in their name follow what is
        live; until here they fitted the old release."""
        release = deploy.plan.commit.sha
        if deploy.engine.image_id(deploy.plan.live.value) is None:
            # After a first deployment: `docker compose up` wants an image for each service.
            deploy.engine.tag(f"{deploy.settings.project}:{release}", deploy.plan.live.value)
        publish(plain_files(deploy), deploy.settings.static_dir)
        deploy.engine.tag(f"{deploy.settings.project}:utility-{release}", "utility")
        again = deploy.intended(self.name) is not None
        deploy.intend(self.name, checkout=release)
        if told := deploy.checkout.move_to(release, again=again):
            deploy.note(told)


def _is_superuser(deploy: Deploy, old: Color) -> bool:
    """Whether it was made before the database had roles: who breaks into the new colour breaks into
    a standby like that as well, and is Postgres' superuser there."""
    given = deploy.engine.environment(old.service) if site.POSTGRES_LOGINS.are_kept_here else None
    return bool(given and given.values.get("POSTGRES_PASSWORD"))
