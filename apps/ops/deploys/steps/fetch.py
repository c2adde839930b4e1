from __future__ import annotations

from apps.ops.deploys.choosing import choose
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import with_changes
from apps.ops.deploys.steps.base import Step


class Fetch(Step):
    """Bring the remote's commits here and decide which one is meant."""

    name = "fetch"

    def run(self, deploy: Deploy) -> str:
        settings = deploy.settings
        plan = choose(
            deploy.ref,
            settings=settings,
            checkout=deploy.checkout,
            engine=deploy.engine,
            edge=deploy.edge,
            say=deploy.say,
            note=deploy.note,
            requested=deploy.requested,
        )
        deploy.plan = with_changes(
            plan, engine=deploy.engine, compose=deploy.compose, directory=settings.secrets_dir
        )
        if changes := deploy.plan.environment:
            deploy.say(f"environment: {changes.in_words()}")
        commit = deploy.plan.commit
        return f"{commit.short} {commit.subject}"
