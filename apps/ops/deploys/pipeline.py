"""The steps of a deployment and of a rollback, in order. Read it as the runbook."""

from __future__ import annotations

from apps.ops.deploys.steps.agent import Agent
from apps.ops.deploys.steps.backup import Backup
from apps.ops.deploys.steps.bake import Bake
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.build import Build
from apps.ops.deploys.steps.choose import Choose
from apps.ops.deploys.steps.contract import Contract
from apps.ops.deploys.steps.edge import Edge
from apps.ops.deploys.steps.fetch import Fetch
from apps.ops.deploys.steps.migrate import Migrate
from apps.ops.deploys.steps.pause import Pause, Resume
from apps.ops.deploys.steps.preflight import Preflight
from apps.ops.deploys.steps.prune import Prune
from apps.ops.deploys.steps.purge import Purge
from apps.ops.deploys.steps.retire import Retire
from apps.ops.deploys.steps.reverse import Reverse
from apps.ops.deploys.steps.start import Start
from apps.ops.deploys.steps.static import Static
from apps.ops.deploys.steps.swap import Swap
from apps.ops.deploys.steps.workers import Workers, WorkersAfter


def deploy_steps() -> tuple[Step, ...]:
    return (
        Fetch(),
        Build(),
        Preflight(),
        Pause(),
        Backup(),
        Migrate(),
        Static(),
        Start(),
        Workers(),
        Swap(),
        Resume(),
        Bake(),
        Retire(),
        Edge(),
        Purge(),
        Contract(),
        Prune(),
        Agent(),
    )


def rollback_steps(*, maintenance: bool) -> tuple[Step, ...]:
    """No bake: whoever goes back wants to be there. The worker follows the web: what the new
    release's web queued is the new worker's to do."""
    if maintenance:
        return (
            Choose(),
            Pause(),
            Reverse(),
            Start(),
            Swap(),
            Resume(),
            WorkersAfter(),
            Retire(),
            Edge(),
            Purge(),
            Agent(),
        )
    return (Choose(), Start(), Swap(), WorkersAfter(), Retire(), Edge(), Purge(), Agent())


def steps_of(kind: str, *, maintenance: bool) -> tuple[Step, ...]:
    return rollback_steps(maintenance=maintenance) if kind == "rollback" else deploy_steps()
