"""Which commit is meant, and whether it may be deployed from this checkout: what `deploy` and
`deploy --plan` begin with, so that one refuses what the other does."""

from __future__ import annotations

from apps.ops.conf import OpsSettings
from apps.ops.deploys import requests
from apps.ops.deploys.plan import Plan, make_plan
from apps.ops.edge.files import Edge
from apps.ops.errors import Refused
from apps.ops.processes import Say
from apps.ops.signed import require_signed
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine

# Containers are given it from the checkout, beside the compose files.
MOUNTED = "docker"


def choose(
    ref: str | None,
    *,
    settings: OpsSettings,
    checkout: Checkout,
    engine: Engine,
    edge: Edge,
    say: Say,
    note: Say,
    requested: bool = False,
) -> Plan:
    """Fetch, and bring all that the commit needs; the working tree is not touched.

    Args:
        requested: it was asked for through the site.

    Raises:
        OpsError: the remote or Docker does not answer, or something speaks against it.
    """
    checkout.fetch(seconds=settings.fetch_seconds, say=say)
    _require_as_committed(checkout, settings)
    plan = make_plan(ref, checkout=checkout, engine=engine, edge=edge)
    sha = plan.commit.sha
    if requested:
        requests.require_allowed_commit(
            sha, ref or settings.branch, checkout=checkout, settings=settings
        )
    # Before anything that the commit brings is read or built.
    if signed := require_signed(sha, checkout=checkout, settings=settings):
        say(signed)
    checkout.bring(sha, seconds=settings.fetch_seconds, say=say)
    for sentence in checkout.left_behind(sha, plan.live_release or None):
        note(sentence)
    return plan


def _require_as_committed(checkout: Checkout, settings: OpsSettings) -> None:
    if changed := checkout.changed_files():
        raise Refused(
            f"The checkout has changes that git does not have: {', '.join(changed[:5])}.",
            next=f"git -C {settings.checkout} diff --submodule=diff   # commit and push "
            "them, or put them back",
        )
    if absent := checkout.absent([*settings.compose_files, MOUNTED]):
        raise Refused(
            "The checkout is sparse, and leaves out what containers are given from it: "
            f"{', '.join(absent[:5])}.",
            next=f"git -C {settings.checkout} sparse-checkout disable",
        )
