"""`deploy --plan`: the same planner that `deploy` runs, printed instead of acted on."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection

from apps.ops import freezes
from apps.ops.conf import OpsSettings
from apps.ops.deploys import one_checkout
from apps.ops.deploys.choosing import choose
from apps.ops.deploys.context import Options, compose_on
from apps.ops.deploys.environment import with_changes
from apps.ops.deploys.outside import Outside, outside_changes
from apps.ops.deploys.pipeline import deploy_steps
from apps.ops.deploys.plan import Plan, migration_files
from apps.ops.deploys.steps.build import require_room, require_variables
from apps.ops.edge.files import Edge
from apps.ops.presenters.jsonl import plan_as_json
from apps.ops.presenters.words import plan_facts
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine
from apps.ops.variables import require_right_variables

SHOWN_COMMITS = 20


def describe(
    ref: str | None, *, settings: OpsSettings, options: Options, as_json: bool
) -> list[str] | dict[str, Any]:
    """What `deploy REF` would do now, in lines or as JSON.

    Asks the remote, and changes nothing that runs.

    Migrations are named from the release's files against the database: those of installed packages
    are only known once the image is built, and the deployment itself asks there.

    Raises:
        OpsError: as a deployment would.
    """
    require_right_variables(again="manage.py deploy --plan")
    checkout = Checkout(settings.checkout, remote=settings.remote, branch=settings.branch)
    engine = Engine(settings.project)
    one_checkout.require_it(settings, engine, adopt=options.adopt_checkout, remember=False)
    freezes.require_not_frozen(options.override, state_dir=settings.state_dir)
    notes: list[str] = []
    plan = choose(
        ref,
        settings=settings,
        checkout=checkout,
        engine=engine,
        edge=Edge(settings.edge_dir),
        say=lambda line: None,
        note=notes.append,
    )
    with tempfile.TemporaryDirectory(prefix="deploy-") as scratch:
        compose = partial(compose_on, settings=settings, checkout=checkout, scratch=Path(scratch))
        plan = with_changes(plan, engine=engine, compose=compose, directory=settings.secrets_dir)
        outside = outside_changes(plan, checkout=checkout, compose=compose)
    plan = replace(plan, image_exists=plan.image_exists and not options.refresh)
    require_variables(checkout, plan.commit)
    if not plan.image_exists:
        require_room(settings.min_free_mb)
    migrations = _pending(checkout.files(plan.commit.sha))
    if as_json:
        steps = [step.name for step in deploy_steps()]
        found = {"migrations": migrations, "outside": asdict(outside), "steps": steps}
        return {**plan_as_json(plan), **found, "notes": notes}
    return [
        *_lines(plan, migrations, outside, refresh=options.refresh),
        *notes,
        "Nothing was changed.",
    ]


def _pending(files: list[str]) -> list[str] | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = {(app, name) for app, name in cursor.fetchall()}
    except DatabaseError:
        return None
    return [".".join(key) for key in migration_files(files) if key not in applied]


def _lines(
    plan: Plan, migrations: list[str] | None, outside: Outside, *, refresh: bool
) -> list[str]:
    lines = [f"{name + ':':<13}{value}" for name, value in plan_facts(plan)]
    lines += [
        f"               {commit.short} {commit.subject} ({commit.author})"
        for commit in plan.commits[:SHOWN_COMMITS]
    ]
    if plan.commits_total > SHOWN_COMMITS:
        lines.append(f"               … and {plan.commits_total - SHOWN_COMMITS} more")
    image = "is there already, nothing is built" if plan.image_exists else "will be built"
    if refresh:
        image += ", on the newest base images and packages"
    lines.append(f"{'image:':<13}{image}")
    if migrations is None:
        lines.append(f"{'migrations:':<13}not known: Postgres does not answer, or is empty")
    else:
        lines.append(f"{'migrations:':<13}{len(migrations)} of this project's own")
        lines += [f"               {name}" for name in migrations]
    lines += outside.lines()
    lines.append(f"{'steps:':<13}{' → '.join(step.name for step in deploy_steps())}")
    return lines
