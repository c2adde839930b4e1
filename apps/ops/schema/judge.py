"""Whether a migration's operation can run while the old release and the new one share the database.

The rules look at what Postgres would do (the SQL), and at who writes to the table meanwhile: the
live release, whose code knows nothing of the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.operations import (
    AddIndexConcurrently,
    CreateCollation,
    CreateExtension,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.db import connection, models
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.fields import AutoFieldMixin
from django.db.models.functions import Now

from apps.ops.schema.judge_sql import judge_sql
from apps.ops.schema.rulings import AFTER, Kind, Ruling, Surroundings, contract, expand, indexed

NULLABLE = "Give the field null=True or a db_default"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`expand`: safe with both releases. `long lock`: it stops reads or writes of a large table for
    as long as it takes. `contract`: it breaks the release that is live.

    `reversible`: it can be taken back, and nothing is lost by having done it.
    """

    kind: Kind
    why: str
    advice: str = ""
    reversible: bool = True


def flatten(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Operations on the database: those of SeparateDatabaseAndState instead of itself."""
    for operation in operations:
        if isinstance(operation, ops.SeparateDatabaseAndState):
            yield from flatten(operation.database_operations)
        else:
            yield operation


def is_reversible(operation: Operation) -> bool:
    # Django can make a dropped column or table again; nobody can make its rows again.
    return bool(operation.reversible) and not isinstance(
        operation, ops.RemoveField | ops.DeleteModel
    )


def migration_is_reversible(migration: Migration) -> bool:
    return all(is_reversible(operation) for operation in flatten(migration.operations))


def judge(
    operation: Operation,
    app_label: str,
    from_state: ProjectState,
    to_state: ProjectState,
    *,
    sql: str | None,
    around: Surroundings,
) -> Judgement:
    """Judge one operation.

    Args:
        sql: what it runs, "" when that is nothing, None when it could not be told beforehand.
        around: its tables; a table that the operation makes is added to `created`.
    """
    kind, why, advice = _judge(operation, app_label, from_state, to_state, sql, around)
    return Judgement(kind, why, advice, is_reversible(operation))


def _judge(
    operation: Operation,
    app_label: str,
    before: ProjectState,
    after: ProjectState,
    sql: str | None,
    around: Surroundings,
) -> Ruling:
    if isinstance(operation, ops.CreateModel):
        made = options(after, app_label, operation.name)
        around.created.add(made.db_table)
        around.created.update(f.m2m_db_table() for f in made.local_many_to_many)
        return expand("a new table, which the live release does not know")
    if isinstance(operation, ops.RunPython):
        return expand("Python code: not looked into")
    if sql == "":
        return expand("nothing changes in the database")

    table = _table(operation, app_label, before)
    if table in around.created:
        if renamed := _table(operation, app_label, after, renamed=True):
            around.created.add(renamed)
        return expand(f"{table} is made by the same deployment")

    match operation:
        case ops.AddField():
            return _added(operation, app_label, after, table, around)
        case ops.AlterField():
            return _altered(operation, app_label, before, after, table, around)
        case ops.RemoveField():
            return contract(
                f"the live release reads and writes {table}.{operation.name}",
                f"First deploy code without the field that keeps its column. {AFTER}",
            )
        case ops.DeleteModel():
            return contract(f"the live release uses the table {table}", AFTER)
        case ops.RenameField() | ops.RenameModel() | ops.AlterModelTable():
            return contract(
                f"the live release knows {table} and its columns by their old names",
                "Keep the name in the database (db_column, Meta.db_table), or add the new one, "
                "fill it, and remove the old one in a later deployment",
            )
        case AddIndexConcurrently() | RemoveIndexConcurrently() | ValidateConstraint():
            return expand("it blocks neither reads nor writes")
        case ops.AddIndex():
            return indexed(table, around)
        case ops.AlterUniqueTogether() | ops.AlterOrderWithRespectTo() | ops.AddConstraint():
            return _constrained(operation, table, sql)
        case (
            ops.RemoveIndex()
            | ops.RenameIndex()
            | ops.RemoveConstraint()
            | ops.AlterModelOptions()
            | ops.AlterModelTableComment()
            | CreateExtension()
            | CreateCollation()
        ):
            return expand("the live release does not notice")
        case _:
            return judge_sql(sql, around)


def _constrained(operation: Operation, table: str, sql: str | None) -> Ruling:
    if isinstance(operation, ops.AlterUniqueTogether) and sql and "DROP" in sql:
        if "ADD CONSTRAINT" not in sql:
            return expand("the live release does not notice")
    elif isinstance(operation, ops.AlterOrderWithRespectTo):
        return contract(f"the live release does not fill {table}._order as the new one does", AFTER)
    return contract(
        f"the live release may write to {table} what it forbids",
        f"First deploy code that keeps to it. {AFTER}",
    )


def _table(
    operation: Operation, app_label: str, state: ProjectState, *, renamed: bool = False
) -> str:
    """The table an operation works on; "" when it is not on one model."""
    name = getattr(operation, "model_name", None) or getattr(operation, "name", None)
    if isinstance(operation, ops.RenameModel):
        name = operation.new_name if renamed else operation.old_name
    if not name or (app_label, name.lower()) not in state.models:
        return ""
    return str(options(state, app_label, name).db_table)


def options(state: ProjectState, app_label: str, model: str) -> Any:
    """A model's `_meta` in a state of the migrations; its fields' types are Django's affair."""
    return state.apps.get_model(app_label, model)._meta  # noqa: SLF001


def _field(state: ProjectState, app_label: str, model: str, name: str) -> Any:
    return options(state, app_label, model).get_field(name)


def has_database_default(column: Any) -> bool:
    """Whether an INSERT that does not name the column gets a value for it."""
    return bool(
        column.null
        or column.has_db_default()
        or isinstance(column, AutoFieldMixin | models.GeneratedField)
    )


def _added(
    operation: ops.AddField, app_label: str, after: ProjectState, table: str, around: Surroundings
) -> Ruling:
    column = _field(after, app_label, operation.model_name, operation.name)
    if column.many_to_many:
        around.created.add(column.m2m_db_table())
        return expand("a new table, which the live release does not know")
    name = f"{table}.{operation.name}"
    if not has_database_default(column):
        return contract(
            f"{name} is NOT NULL without a default in the database (Django drops the default of "
            "Python): the live release's INSERTs would fail",
            NULLABLE,
        )
    if around.is_large(table):
        if column.unique or column.db_index:
            return (
                "long lock",
                f"{table} is locked while its {around.rows(table):,} rows are indexed",
                "Add the field without an index, then the index with AddIndexConcurrently",
            )
        if _rewrites(column):
            return (
                "long lock",
                f"{table} is locked while its {around.rows(table):,} rows are written anew",
                "Add it with null=True, and fill it in batches",
            )
    return expand(f"the live release's INSERTs do not name {name}, and need not")


def _rewrites(column: Any) -> bool:
    """Whether Postgres computes another value for each row, instead of noting one for all."""
    if isinstance(column, AutoFieldMixin | models.GeneratedField):
        return True
    return column.has_db_default() and not isinstance(
        column._db_default_expression,  # noqa: SLF001
        models.Value | Now,
    )


def _altered(
    operation: ops.AlterField,
    app_label: str,
    before: ProjectState,
    after: ProjectState,
    table: str,
    around: Surroundings,
) -> Ruling:
    old = _field(before, app_label, operation.model_name, operation.name)
    new = _field(after, app_label, operation.model_name, operation.name)
    name = f"{table}.{operation.name}"
    was, becomes = old.db_parameters(connection), new.db_parameters(connection)
    if old.column != new.column:
        return contract(
            f"the live release knows {name} by its old name", "Keep db_column as it was"
        )
    if old.null and not new.null:
        return contract(f"the live release may still write NULL to {name}", AFTER)
    if not new.null and old.has_db_default() and not new.has_db_default():
        return contract(f"the live release leaves {name} to the database's default", AFTER)
    if new.unique and not old.unique:
        return contract(f"the live release may write {name} twice", AFTER)
    if becomes["check"] and becomes["check"] != was["check"]:
        return contract(f"the live release may write to {name} what the check forbids", AFTER)
    if _references(new) and _references(new) != _references(old):
        return contract(f"the live release may write to {name} what it must not refer to", AFTER)
    if was["type"] != becomes["type"]:
        return _retyped(name, table, str(was["type"]), str(becomes["type"]), around)
    if was.get("collation") != becomes.get("collation") and around.is_large(table):
        return "long lock", f"{table} is locked while its indexes are made anew", AFTER
    if new.db_index and not old.db_index:
        return indexed(table, around)
    return expand(f"the live release can go on with {name}")


def _references(column: Any) -> str:
    if not column.remote_field or not getattr(column, "db_constraint", False):
        return ""
    target = column.target_field
    return f"{target.model._meta.db_table}.{target.column}"  # noqa: SLF001


_INTEGERS = ("smallint", "integer", "bigint")


def _retyped(name: str, table: str, was: str, becomes: str, around: Surroundings) -> Ruling:
    if _is_text(was) and _is_text(becomes) and _width(becomes) >= _width(was):
        return expand(f"{name} only becomes wider")
    if (
        was in _INTEGERS
        and becomes in _INTEGERS
        and _INTEGERS.index(becomes) >= _INTEGERS.index(was)
    ):
        if around.is_large(table):
            return (
                "long lock",
                f"{table} is locked while its {around.rows(table):,} rows are written anew",
                "Add a wider field, fill it in batches, and move over to it",
            )
        return expand(f"{name} only becomes wider, and {table} is small")
    return contract(
        f"{name} changes from {was} to {becomes}: the live release writes the old kind, and the "
        "table may be written anew",
        "Add a new field, fill it, and remove the old one in a later deployment",
    )


def _is_text(kind: str) -> bool:
    return kind.startswith(("varchar", "text"))


def _width(kind: str) -> float:
    size = re.search(r"\((\d+)\)", kind)
    return int(size[1]) if size else float("inf")
