"""The steps of a deployment, in order. Read it as the runbook."""

from __future__ import annotations

from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.build import Build
from apps.ops.deploys.steps.fetch import Fetch
from apps.ops.deploys.steps.migrate import Migrate
from apps.ops.deploys.steps.preflight import Preflight
from apps.ops.deploys.steps.prune import Prune
from apps.ops.deploys.steps.retire import Retire
from apps.ops.deploys.steps.start import Start
from apps.ops.deploys.steps.static import Static
from apps.ops.deploys.steps.swap import Swap
from apps.ops.deploys.steps.workers import Workers


def deploy_steps() -> tuple[Step, ...]:
    return (
        Fetch(),
        Build(),
        Preflight(),
        Migrate(),
        Static(),
        Start(),
        Workers(),
        Swap(),
        Retire(),
        Prune(),
    )
