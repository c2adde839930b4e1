from __future__ import annotations

from apps.ops.backups.take import take
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.choose import Choose
from apps.ops.deploys.steps.migrate import owners_secrets
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.requester import Requester


class Reverse(Step):
    """For a rollback behind the maintenance page: take back the migrations that the older code does
    not run with. The release that is live knows how."""

    name = "reverse"

    def run(self, deploy: Deploy) -> str:
        names = (deploy.intended(Choose.name) or {}).get("reverse", [])
        if not names:
            return "nothing to reverse"
        backup = take(
            deploy.settings,
            reason=f"before migrations are reversed for {deploy.plan.commit.short}",
            requested_by=Requester.now(deploy.settings).by,
            release=deploy.plan.live_release,
            media=False,
            say=deploy.say,
        )
        deploy.intend(self.name, names=names)
        self._apply(deploy, ["reverse", *names])
        return f"{len(names)} reversed, {backup.name} has what they held"

    def undo(self, deploy: Deploy) -> bool:
        if deploy.intended(self.name) is None:
            return False
        # All that it knows, also those of the phase after the swap: they were applied.
        self._apply(deploy, ["before", "--first"])
        return True

    def _apply(self, deploy: Deploy, arguments: list[str]) -> None:
        try:
            deploy.compose(deploy.plan.live_release).run(
                deploy.plan.live.service,
                ["python", "manage.py", "apply_migrations", *arguments],
                env={"ROLE": "migrate", "PGOPTIONS": "-c client_connection_check_interval=2s"},
                volumes=owners_secrets(deploy),
                labels={"changeover.deployment": deploy.uid},
                seconds=deploy.settings.migrate_seconds,
                say=deploy.say,
            )
        except ProgramFailed as error:
            raise StepFailed(
                f"The migrations could not be put as {arguments[0]} wants them.",
                output=error.output,
                next="manage.py showmigrations   # what is applied; the last line above says why",
            ) from error
