from __future__ import annotations

from apps.ops.deploys.context import EDGE, Deploy
from apps.ops.deploys.proof import wrong_at_the_front_door
from apps.ops.deploys.steps.base import Step
from apps.ops.edge import follow
from apps.ops.errors import StepFailed
from apps.ops.stack import drift


class Edge(Step):
    """Caddy follows the release: its Caddyfile is loaded, without a restart.

    Creating it anew, which visitors would notice, is a person's to say.
    """

    name = EDGE
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        deploy.intend(self.name, release=deploy.plan.commit.sha)
        compose = deploy.compose(deploy.plan.commit.sha)
        if deploy.nobody_served:
            follow.revive(deploy.settings, deploy.engine, compose, say=deploy.say)
            if wrong := wrong_at_the_front_door(deploy):
                raise StepFailed(
                    f"Caddy runs again, and answers {wrong}.",
                    next="docker compose logs --tail 50 caddy   # then: manage.py status",
                )
            return "Caddy answers again"
        summary = follow.follow(deploy.settings, deploy.engine, compose, say=deploy.say)
        for name, differs in drift.of_services(compose, deploy.engine).items():
            deploy.note(
                f"{name} goes on as it is, and is declared otherwise ({', '.join(differs)}): "
                f"{drift.how_to_apply(name)}"
            )
        if follow.runs_as_root(deploy.engine):
            raise StepFailed(
                f"{summary}. Its container is an older release's, which runs as root: creating it "
                "anew costs visitors some seconds, so a deployment does not.",
                next=follow.RECREATE,
            )
        return summary
