"""What a release's pending migrations would do to the live database, with their SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

from django.db import connection
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from apps.ops.schema.judge import Judgement, flatten, has_database_default, judge, options
from apps.ops.schema.rulings import KINDS, Kind, Surroundings

Phase = Literal["before", "after"]
NOT_SHOWN = "-- not known beforehand"


@dataclass(frozen=True, slots=True)
class Change:
    """One operation of a migration, and what it means."""

    what: str
    kind: Kind
    why: str
    advice: str
    reversible: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """A migration that is to be applied: as a dictionary it is what a deployment keeps of it."""

    name: str
    phase: Phase
    kind: Kind
    reversible: bool
    sql: list[str]
    operations: list[Change]


@dataclass(frozen=True, slots=True)
class Report:
    """`refusals` are sentences: why these migrations cannot be applied in this order."""

    migrations: list[Pending]
    refusals: list[str]
    known: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def key(migration: Migration) -> str:
    return f"{migration.app_label}.{migration.name}"


def is_contract_phase(migration: Migration) -> bool:
    """Whether its author says that it runs after the swap, when the bake has passed."""
    return getattr(migration, "phase", None) == "contract"


def pending(loader: MigrationLoader) -> list[Migration]:
    """The migrations that are not applied, in the order in which they would be."""
    graph, found = loader.graph, dict[tuple[str, str], None]()
    for leaf in graph.leaf_nodes():
        found.update(dict.fromkeys(graph.forwards_plan(leaf)))
    return [graph.nodes[node] for node in found if node not in loader.applied_migrations]


def blockers(loader: MigrationLoader, migration: Migration) -> list[str]:
    """What it depends on, and is not applied, and runs after the swap only."""
    needs = loader.graph.forwards_plan((migration.app_label, migration.name))
    return [
        key(loader.graph.nodes[node])
        for node in needs
        if node not in loader.applied_migrations
        and loader.graph.nodes[node] is not migration
        and is_contract_phase(loader.graph.nodes[node])
    ]


def report(*, large: int, first: bool) -> Report:
    """What this release's migrations would do to the database. Changes nothing.

    Args:
        large: the number of rows from which on a table counts as large.
        first: no release is live: everything is applied before the swap, in its order.
    """
    with _read_only():
        loader = MigrationLoader(connection)
        todo = pending(loader)
        state = _applied_state(loader)
        around = Surroundings(large, cache(estimated_rows))
        migrations, refusals = [], []
        for migration in todo:
            after = is_contract_phase(migration) and not first
            found, refused = _look(migration, state, around, "after" if after else "before")
            migrations.append(found)
            if not first:
                refusals += refused
                blocking = [] if after else blockers(loader, migration)
                if blocking:
                    refusals.append(
                        f"{key(migration)} is to run before the swap and depends on {blocking[0]}, "
                        "which is marked to run after it. Deploy the release that ends with "
                        f"{blocking[0]} first, and then this one."
                    )
        # Those that another one squashed, too: the table of the applied ones has their names.
        known = sorted(f"{app}.{name}" for app, name in loader.disk_migrations)
    return Report(migrations, refusals, known)


def estimated_rows(table: str) -> int:
    """A table's rows as Postgres estimates them; 0 for a table that is not there."""
    with connection.cursor() as cursor:
        # A table that was never analyzed has -1: then by its size, at 100 bytes a row.
        cursor.execute(
            "SELECT CASE WHEN reltuples < 0 THEN pg_relation_size(oid) / 100 ELSE reltuples END"
            " FROM pg_class WHERE oid = to_regclass(%s)",
            [table if "." in table else connection.ops.quote_name(table)],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _read_only() -> Iterator[None]:
    """An operation of somebody else's package that acts while its SQL is asked for, fails."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET default_transaction_read_only")


def _applied_state(loader: MigrationLoader) -> ProjectState:
    applied = [node for node in loader.applied_migrations if node in loader.graph.nodes]
    if not applied:
        return ProjectState(real_apps=loader.unmigrated_apps)
    return loader.project_state(applied)


def _look(
    migration: Migration, state: ProjectState, around: Surroundings, phase: Phase
) -> tuple[Pending, list[str]]:
    """Judge a migration; `state` becomes the state behind it."""
    changes: list[Change] = []
    refusals: list[str] = []
    sql: list[str] = []

    def see(
        operation: Operation, before: ProjectState, after: ProjectState, text: str | None
    ) -> None:
        sql.extend([NOT_SHOWN] if text is None else text.splitlines())
        found = judge(operation, migration.app_label, before, after, sql=text, around=around)
        changes.append(_change(operation, found))
        if phase == "after" and isinstance(operation, ops.RemoveField):
            refusals.extend(_fills_no_more(migration, operation, before))

    _walk(migration, state, see)
    word = getattr(migration, "phase", None)
    if word not in (None, "expand", "contract"):
        refusals.append(
            f"{key(migration)} has phase = {word!r}: it can be 'expand' (safe with the live "
            "release, whatever it looks like) or 'contract' (to be run after the swap)."
        )
    worst = max((change.kind for change in changes), key=KINDS.index, default=KINDS[0])
    found = Pending(
        name=key(migration),
        phase=phase,
        kind="expand" if word == "expand" else worst,
        reversible=all(change.reversible for change in changes),
        sql=sql,
        operations=changes,
    )
    return found, refusals


def _change(operation: Operation, found: Judgement) -> Change:
    return Change(operation.describe(), found.kind, found.why, found.advice, found.reversible)


def _fills_no_more(
    migration: Migration, operation: ops.RemoveField, before: ProjectState
) -> list[str]:
    model = options(before, migration.app_label, operation.model_name)
    column = model.get_field(operation.name)
    if column.many_to_many or has_database_default(column):
        return []
    refusal = (
        f"{key(migration)} removes {operation.model_name}.{operation.name} after the swap, and "
        "until then the new release inserts rows without it, which the database refuses: it is NOT "
        "NULL without a default there. First give the field null=True (or a db_default) in a "
        "migration before this one."
    )
    return [refusal]


See = Callable[[Operation, ProjectState, ProjectState, str | None], None]


def _walk(migration: Migration, state: ProjectState, see: See) -> None:
    """Call `see` for each operation on the database, with the states around it and its SQL."""
    app = migration.app_label
    for outer in migration.operations:
        inner_state = state.clone()
        for operation in flatten([outer]):
            before = inner_state.clone()
            operation.state_forwards(app, inner_state)
            see(operation, before, inner_state, _sql(operation, app, before, inner_state))
        outer.state_forwards(app, state)


def _sql(operation: Operation, app: str, before: ProjectState, after: ProjectState) -> str | None:
    """What an operation runs, asked of Django; None when it cannot be told."""
    if not operation.reduces_to_sql:
        return None
    # Not atomic: operations that must not be in a transaction are asked, too.
    editor = connection.schema_editor(collect_sql=True, atomic=False)
    try:
        with editor:
            operation.database_forwards(app, editor, before, after)
    except Exception:
        # It looks for a constraint that an earlier migration of this plan would have made.
        return None
    lines = "\n".join(editor.collected_sql).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))
