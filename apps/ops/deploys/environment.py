"""What a release is told through its environment, by name; values are compared and never kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from apps.ops import secret_files
from apps.ops.conf import OpsSettings
from apps.ops.deploys.plan import Plan
from apps.ops.dotenv import Changes, compare_values, of_file, read_example
from apps.ops.errors import OpsError
from apps.ops.source import Checkout
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from apps.ops.stack.service import Environment

# Each colour, and each release, has its own.
DIFFERENT_BY_DESIGN = frozenset({"COLOR", "RELEASE"})
# What Compose itself reads of `.env`.
_OF_COMPOSE = re.compile(r"\$\{(\w+)")


def missing_variables(checkout: Checkout, release: str) -> list[str]:
    """Variables that the release's `.env.example` requires (nothing after the "=") and `.env`
    does not set."""
    example = read_example(checkout.file(release, ".env.example") or "")
    return example.missing(of_file(checkout.path / ".env", os.environ))


def unreached(
    checkout: Checkout, release: str, files: Iterable[str], given: Iterable[str]
) -> list[str]:
    """Variables of `.env` that neither web nor worker gets, and that are not for somebody else.

    Args:
        files: the release's compose files.
        given: the names of the web's environment, as they declare it.
    """
    known = {name.removesuffix("_FILE") for name in given} | OpsSettings.variables().keys()
    for file in files:
        known |= set(_OF_COMPOSE.findall(checkout.file(release, file) or ""))
    values = of_file(checkout.path / ".env").values
    return sorted(
        name
        for name in values
        if not name.startswith(("COMPOSE_", "OPS_")) and name.removesuffix("_FILE") not in known
    )


def with_changes(
    plan: Plan,
    *,
    engine: Engine,
    compose: Callable[[str], Compose],
    directory: Path,
    is_warm: bool = False,
) -> Plan:
    """The plan, with the names in which the candidate's environment differs from the live one's.

    Files that Compose cannot read are left to the step that refuses them.

    Args:
        compose: Compose on a release's own files.
        directory: where the services' secrets are mounted here.
        is_warm: the candidate runs already, with what it was created with.
    """
    candidate = plan.candidate.service
    try:
        live = engine.environment(plan.live.service)
        if is_warm:
            standby = engine.environment(candidate)
            given = standby.given if standby else None
        else:
            given = compose(plan.commit.sha).environment(candidate)
    except (OpsError, OSError, ValueError):
        return plan
    if live is None or given is None:
        return plan

    def written(name: str, path: Path) -> str:
        return secret_files.read(secret_files.mounted(path, directory=directory))

    def wanted(name: str, path: Path) -> str:
        return os.environ.get(name, "")

    return replace(
        plan,
        environment=changed_names(
            Environment(
                secret_files.in_place_of_files(live.values, written),
                secret_files.in_place_of_files(live.given, written),
            ),
            secret_files.in_place_of_files(given, written if is_warm else wanted),
        ),
    )


def changed_names(live: Environment, given: Mapping[str, str]) -> Changes:
    """How what a candidate is given differs from what the live container runs with."""
    # What both say is compared with what the container has, also where its image says the same.
    shared = {name: value for name, value in live.values.items() if name in given}
    before = {**live.given, **shared}
    return compare_values(_told(before), _told(given))


def _told(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in DIFFERENT_BY_DESIGN}
