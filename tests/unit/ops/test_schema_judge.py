from __future__ import annotations

from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.functions import Now

from apps.ops.schema.compat import compatibility
from apps.ops.schema.judge import Judgement, judge
from apps.ops.schema.judge_sql import judge_sql
from apps.ops.schema.rulings import Surroundings

LARGE = 1000
BOOK = ops.CreateModel(
    "Book",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=20)),
        ("pages", models.IntegerField()),
        ("note", models.TextField(null=True)),
        ("color", models.CharField(max_length=9, db_default="red")),
    ],
)


def around(rows: int = 0, **known: Any) -> Surroundings:
    return Surroundings(LARGE, lambda table: rows, **known)


def judged(
    operation: Operation, *, rows: int = 0, sql: str | None = "…", created: bool = False
) -> Judgement:
    before = ProjectState()
    BOOK.state_forwards("shelf", before)
    after = before.clone()
    operation.state_forwards("shelf", after)
    known = {"shelf_book"} if created else set()
    return judge(operation, "shelf", before, after, sql=sql, around=around(rows, created=known))


def altered(name: str, field: models.Field[Any, Any]) -> Operation:
    return ops.AlterField("book", name, field)


def added(field: models.Field[Any, Any]) -> Operation:
    return ops.AddField("book", "new", field)


INDEX = models.Index(fields=["title"], name="by_title")
CHECK = models.CheckConstraint(condition=models.Q(pages__gt=0), name="has_pages")


@pytest.mark.parametrize(
    "operation",
    [
        ops.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))]),
        added(models.TextField(null=True)),
        added(models.TextField(db_default="")),
        added(models.DateTimeField(db_default=Now())),
        added(models.ManyToManyField("shelf.Book")),
        ops.RemoveIndex("book", "by_title"),
        altered("title", models.CharField(max_length=21)),
        altered("title", models.TextField()),
        altered("pages", models.IntegerField(null=True)),
        altered("pages", models.BigIntegerField()),
        ops.AddIndex("book", INDEX),
        ops.RunPython(ops.RunPython.noop),
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_the_live_release_does_not_notice_expands(operation: Operation) -> None:
    if isinstance(operation, ops.RemoveIndex):
        assert judge_sql('DROP INDEX "by_title"', around())[0] == "expand"
        return
    assert judged(operation).kind == "expand"


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (added(models.TextField(default="")), "INSERTs would fail"),
        (ops.RemoveField("book", "note"), "reads and writes shelf_book.note"),
        (ops.DeleteModel("Book"), "uses the table shelf_book"),
        (ops.RenameField("book", "note", "remark"), "old names"),
        (ops.RenameModel("Book", "Volume"), "old names"),
        (ops.AlterModelTable("book", "volumes"), "old names"),
        (altered("note", models.TextField(default="")), "may still write NULL"),
        (altered("title", models.CharField(max_length=19)), "varchar(20) to varchar(19)"),
        (altered("pages", models.TextField()), "from integer to text"),
        (altered("pages", models.PositiveIntegerField()), "what the check forbids"),
        (altered("title", models.CharField(max_length=20, unique=True)), "twice"),
        (altered("color", models.CharField(max_length=9)), "the database's default"),
        (ops.AddConstraint("book", CHECK), "what it forbids"),
        (ops.AlterUniqueTogether("book", {("title", "pages")}), "what it forbids"),
    ],
    ids=lambda value: value.describe() if isinstance(value, Operation) else "",
)
def test_what_breaks_the_live_release_contracts_and_says_why(
    operation: Operation, why: str
) -> None:
    found = judged(operation)

    assert found.kind == "contract"
    assert why in found.why
    assert found.advice


@pytest.mark.parametrize(
    "operation",
    [
        ops.AddIndex("book", INDEX),
        added(models.TextField(null=True, db_index=True)),
        altered("pages", models.BigIntegerField()),
        altered("title", models.CharField(max_length=20, db_index=True)),
    ],
    ids=lambda operation: operation.describe(),
)
def test_indexing_and_rewriting_a_large_table_is_a_long_lock(operation: Operation) -> None:
    assert judged(operation, rows=LARGE).kind == "long lock"
    assert judged(operation, rows=LARGE - 1).kind == "expand"
    assert judged(operation, rows=LARGE, created=True).kind == "expand"


def test_an_index_that_is_made_concurrently_locks_nobody() -> None:
    assert judged(AddIndexConcurrently("book", INDEX), rows=LARGE).kind == "expand"


def test_a_table_of_the_same_deployment_may_be_changed_at_will() -> None:
    assert judged(ops.AddConstraint("book", CHECK), created=True).kind == "expand"


def test_what_runs_no_sql_expands() -> None:
    assert judged(ops.RenameField("book", "note", "remark"), sql="").kind == "expand"


def test_dropped_rows_make_an_operation_irreversible() -> None:
    assert not judged(ops.RemoveField("book", "note")).reversible
    assert not judged(ops.DeleteModel("Book")).reversible
    assert not judged(ops.RunSQL("SELECT 1")).reversible
    assert judged(ops.RenameField("book", "note", "remark")).reversible


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("DROP TABLE book", "contract"),
        ("alter table book\n drop column note", "contract"),
        ("ALTER TABLE book DROP note", "contract"),
        ("ALTER TABLE book RENAME TO volume", "contract"),
        ("ALTER TABLE book ALTER note SET NOT NULL", "contract"),
        ("ALTER TABLE book ALTER COLUMN pages TYPE text", "contract"),
        ("ALTER TABLE book ALTER COLUMN pages SET DATA TYPE text", "contract"),
        ("TRUNCATE book", "contract"),
        ("ALTER TABLE book ADD CONSTRAINT x CHECK (pages > 0)", "contract"),
        ("ALTER TABLE book ADD COLUMN x int NOT NULL, ADD COLUMN y int DEFAULT 1", "contract"),
        ("CREATE UNIQUE INDEX x ON book (title)", "contract"),
        ("ALTER TABLE book ADD COLUMN x int DEFAULT 1 NOT NULL", "expand"),
        ("ALTER TABLE book DROP CONSTRAINT x", "expand"),
        ("ALTER TABLE book ALTER note DROP NOT NULL", "expand"),
        ("INSERT INTO book VALUES ('DROP TABLE book') -- TRUNCATE", "expand"),
        ("CREATE INDEX x ON book (title)", "long lock"),
        ("CREATE INDEX CONCURRENTLY x ON book (title)", "expand"),
    ],
)
def test_sql_is_judged_by_its_words(sql: str, kind: str) -> None:
    assert judge_sql(sql, around(rows=LARGE))[0] == kind


def applied(name: str, kind: str = "expand", *, reversible: bool = True) -> dict[str, Any]:
    return {"name": name, "kind": kind, "reversible": reversible}


def test_older_code_runs_on_a_schema_that_only_grew() -> None:
    extra = [applied("a.3", "long lock"), applied("a.2", reversible=False)]

    assert compatibility(extra).kind == "safe"
    assert compatibility([]).kind == "safe"


def test_older_code_needs_a_contracted_schema_back_with_all_that_came_after() -> None:
    extra = [applied("a.4"), applied("a.3", "contract"), applied("a.2", reversible=False)]

    verdict = compatibility(extra)

    assert (verdict.kind, verdict.names) == ("reverse", ("a.4", "a.3"))


def test_older_code_is_out_of_reach_when_one_of_these_cannot_be_reversed() -> None:
    extra = [applied("a.4", reversible=False), applied("a.3", "contract")]

    verdict = compatibility(extra)

    assert (verdict.kind, verdict.names) == ("impossible", ("a.4",))
    assert "a.4 cannot be reversed" in verdict.why
