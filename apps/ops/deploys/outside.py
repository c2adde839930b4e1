"""What a release changes outside the two colours: how it comes into force, and what that costs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from apps.ops.deploys.plan import Plan
from apps.ops.edge.follow import CADDYFILE
from apps.ops.errors import OpsError
from apps.ops.source import Checkout
from apps.ops.stack import drift
from apps.ops.stack.compose import Compose

MAX_LINES = 60


@dataclass(frozen=True, slots=True)
class Outside:
    """`caddyfile` is a unified diff, empty when it stays; `services` has what changes by name."""

    caddyfile: Sequence[str]
    services: Mapping[str, Sequence[str]]

    def lines(self) -> list[str]:
        lines = []
        if self.caddyfile:
            lines.append(f"{'Caddyfile:':<13}changes; loaded after the swap, nobody waits")
            lines += [f"               {line}" for line in self.caddyfile[:MAX_LINES]]
            if (more := len(self.caddyfile) - MAX_LINES) > 0:
                lines.append(f"               … and {more} more lines")
        for name, keys in self.services.items():
            lines.append(
                f"{name + ':':<13}changes ({', '.join(keys)}); a deployment leaves it alone"
            )
            lines.append(f"               {drift.how_to_apply(name)}")
        return lines


def outside_changes(
    plan: Plan, *, checkout: Checkout, compose: Callable[[str], Compose]
) -> Outside:
    """What the release declares otherwise than the live one does.

    Files that Compose cannot read, or a live release that git does not have, are left to the step
    that refuses them.
    """
    old, new = plan.live_release, plan.commit.sha
    if not old or old == new or not checkout.has(old):
        return Outside((), {})
    before, after = (checkout.file(sha, str(CADDYFILE)) or "" for sha in (old, new))
    diff = difflib.unified_diff(
        before.splitlines(), after.splitlines(), old[:12], new[:12], lineterm="", n=1
    )
    services = {}
    try:
        files = compose(old), compose(new)
        for name in drift.LEFT_ALONE:
            if keys := drift.changed(*(each.declared(name) for each in files)):
                services[name] = keys
    except OpsError:
        services = {}
    return Outside(list(diff), services)
