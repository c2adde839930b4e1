from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.guard import require_idle
from apps.ops.deploys.steps.bake import GOOD, TOO_FEW
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.migrate import planned, run_in_new_image
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed


class Contract(Step):
    """Apply the migrations that are marked to run after the swap, when the bake has passed.

    The old colour is stopped first: its code cannot run on the contracted schema, so it is no way
    back any more.
    """

    name = "contract"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        names = [migration["name"] for migration in planned(deploy, "after")]
        if not names:
            return "nothing to apply"
        watched = deploy.options.bake and deploy.settings.bake_seconds
        if watched and deploy.bake.get("verdict") not in (GOOD, TOO_FEW):
            raise StepFailed(
                f"{names[0]} was not applied: the bake has not passed, and it would end the way "
                "back.",
                next="manage.py deploy   # again, or with a fix",
            )
        deploy.intend("contract", names=names)
        old = deploy.plan.live
        require_idle(deploy, old)
        deploy.engine.stop(old.service, seconds=deploy.settings.web_stop_grace_seconds)
        try:
            run_in_new_image(deploy, ["after"])
        except ProgramFailed as error:
            raise StepFailed(
                f"The migrations after the swap failed ({len(names)}, from {names[0]} on).",
                output=error.output,
                next="manage.py deploy   # it tries again",
            ) from error
        return f"{len(names)} applied, {old} stopped"
