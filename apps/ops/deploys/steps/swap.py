from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.proof import (
    require_running,
    wait_until_settled,
    wrong_at_the_front_door,
)
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import OpsError, StepFailed, SwappedBack

# Docker's default; compose.prod.yml starts each colour with STANDBY_CPU_SHARES.
LIVE_CPU_SHARES, STANDBY_CPU_SHARES = 1024, 256


class Swap(Step):
    """Move the traffic: one rename, then a proof through the front door.

    This is the commit point. Before it everything is undone; after it everything is finished.
    """

    name = "swap"

    def run(self, deploy: Deploy) -> str:
        plan = deploy.plan
        assert deploy.watch is not None
        if not (deploy.intended("start") or {}).get("warm"):
            # Candidate and worker both run only now, and a worker's start is work for the machine:
            # the calm that is asked for begins here.
            deploy.watch.count_anew(warm_up=deploy.smoke_paths)
            wait_until_settled(deploy, deploy.watch)
            require_running(deploy)
        deploy.watch.stop()
        if (live := deploy.edge.live()) is not plan.live:
            raise StepFailed(
                f"Traffic went to {plan.live} when this deployment began, and goes to {live} now: "
                "somebody else moved it.",
                next="manage.py status   # then deploy again",
            )
        deploy.engine.share_cpu(plan.candidate.service, LIVE_CPU_SHARES)
        # Said before it is done: a signal between the two must find a deployment to be finished,
        # and after a kill the edge tells whether it was done.
        deploy.intend(self.name, to=plan.candidate.value)
        deploy.swapped_at = datetime.now(UTC)
        try:
            deploy.edge.point_to(plan.candidate)
        except OSError as error:
            if deploy.edge.live() is plan.live:
                deploy.swapped_at = None
            raise StepFailed(
                f"The edge could not be written: {error}.", next="df -h   # is a disk full?"
            ) from error
        if not deploy.nobody_served and (wrong := wrong_at_the_front_door(deploy)):
            _move_back(deploy)
            raise SwappedBack(
                f"After the swap the front door answered {wrong}, "
                f"not release {plan.commit.short} ({plan.candidate}).",
                output=_last_lines(deploy),
                next="manage.py status",
            )
        return f"{plan.live} → {plan.candidate}"


def _move_back(deploy: Deploy) -> None:
    try:
        deploy.edge.point_to(deploy.plan.live)
    except OSError as error:
        raise StepFailed(
            f"The front door does not answer with {deploy.plan.candidate}, and the edge could not "
            f"be written to move back: {error}.",
            next="df -h   # make room, then: manage.py rollback",
        ) from error
    deploy.moved_back = True


def _last_lines(deploy: Deploy) -> str:
    """What the candidate said, if Docker tells: that traffic moved back is said in any case."""
    with suppress(OpsError):
        return deploy.engine.logs(deploy.plan.candidate.service, lines=30)
    return ""
