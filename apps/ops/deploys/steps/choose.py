from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import with_changes
from apps.ops.deploys.rollback import judge_schema, make_rollback_plan
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.start import is_warm
from apps.ops.errors import Refused


class Choose(Step):
    """Decide which release to go back to, and whether its code runs on today's schema."""

    name = "choose"

    def run(self, deploy: Deploy) -> str:
        deploy.plan = make_rollback_plan(deploy)
        plan = deploy.plan
        verdict = judge_schema(deploy)
        deploy.postgres_away = verdict.kind == "not known"
        deploy.say(verdict.why)
        if verdict.kind == "reverse" and deploy.options.maintenance:
            deploy.intend(self.name, reverse=verdict.names)
        elif verdict.kind not in ("safe", "not known"):
            if not deploy.options.allow_incompatible:
                raise Refused(
                    f"Release {plan.commit.short} does not run on today's schema: {verdict.why}",
                    next=verdict.advice,
                )
            deploy.warnings.append(f"Overruled (--allow-incompatible): {verdict.why}")
        warm = is_warm(deploy, deploy.engine.service(plan.candidate.service))
        deploy.plan = with_changes(
            plan,
            engine=deploy.engine,
            compose=deploy.compose,
            directory=deploy.settings.secrets_dir,
            is_warm=warm,
        )
        if changes := deploy.plan.environment:
            deploy.say(f"environment: {changes.in_words()}")
        if warm:
            return f"{plan.commit.short}, a warm standby; {verdict.why}"
        tag = plan.candidate.value
        deploy.intend(self.name, tag=tag, before=deploy.engine.image_id(tag))
        deploy.engine.tag(f"{deploy.settings.project}:{plan.commit.sha}", tag)
        return f"{plan.commit.short}, from its kept image; {verdict.why}"

    def undo(self, deploy: Deploy) -> bool:
        intended = deploy.intended(self.name)
        if intended is None or "tag" not in intended:
            return False
        if intended["before"]:
            deploy.engine.tag(intended["before"], intended["tag"])
        else:
            deploy.engine.untag(intended["tag"])
        return True
