from __future__ import annotations

from apps.ops.deploys import requests
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import with_changes
from apps.ops.deploys.plan import make_plan
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import Refused
from apps.ops.signed import require_signed


class Fetch(Step):
    """Bring the remote's commits here and decide which one is meant."""

    name = "fetch"

    def run(self, deploy: Deploy) -> str:
        settings = deploy.settings
        deploy.checkout.fetch(seconds=settings.fetch_seconds, say=deploy.say)
        if changed := deploy.checkout.changed_files():
            raise Refused(
                f"The checkout has changes that git does not have: {', '.join(changed[:5])}.",
                next=f"git -C {settings.checkout} diff   # commit and push them, or put them back",
            )
        plan = make_plan(
            deploy.ref, checkout=deploy.checkout, engine=deploy.engine, edge=deploy.edge
        )
        sha = plan.commit.sha
        if deploy.requested:
            requests.require_allowed_commit(
                sha, str(deploy.ref), checkout=deploy.checkout, settings=settings
            )
        # Before anything that the commit brings is read or built.
        if signed := require_signed(sha, checkout=deploy.checkout, settings=settings):
            deploy.say(signed)
        deploy.plan = with_changes(
            plan, engine=deploy.engine, compose=deploy.compose, directory=settings.secrets_dir
        )
        if changes := deploy.plan.environment:
            deploy.say(f"environment: {changes.in_words()}")
        commit = deploy.plan.commit
        return f"{commit.short} {commit.subject}"
