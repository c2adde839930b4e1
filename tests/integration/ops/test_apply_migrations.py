from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import post_migrate

from apps.ops.conf import OpsSettings
from apps.ops.deploys.steps.preflight import require_expanding, show
from apps.ops.errors import Refused
from apps.ops.readiness import needed_migrations
from apps.ops.schema.plan import Report, report
from tests.servers import HUNG_SECONDS, PostgresServer

ID = '("id", models.BigAutoField(primary_key=True))'
BOOK = f'migrations.CreateModel("Book", [{ID}, ("title", models.TextField())])'
NOTE = 'migrations.AddField("book", "note", models.TextField(null=True))'
BROKEN = 'migrations.RunSQL("SELECT 1 / 0", "")'

Write = Callable[..., None]


@pytest.fixture
def write(
    database: PostgresServer,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Write]:
    """Give the app `shelf` a migration: `write("0002_note", NOTE)`; after the one before it."""
    folder = tmp_path / "shelf" / "migrations"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "shelf"]
    settings.OPS = OpsSettings(lock_timeout_seconds=0.1, lock_attempts=2, large_table_rows=100)
    names: list[str] = []

    def add(name: str, *operations: str, **attributes: Any) -> None:
        extra = "".join(f"    {key} = {value!r}\n" for key, value in attributes.items())
        (folder / f"{name}.py").write_text(
            "from django.contrib.postgres.operations import AddIndexConcurrently\n"
            "from django.db import migrations, models\n\n"
            "class Migration(migrations.Migration):\n"
            f"    dependencies = {[('shelf', before) for before in names[-1:]]}\n"
            f"{extra}    operations = [{', '.join(operations)}]\n"
        )
        names.append(name)

    yield add
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS shelf_book CASCADE")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'shelf'")
    for module in [m for m in sys.modules if m.partition(".")[0] == "shelf"]:
        del sys.modules[module]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("apply_migrations", *arguments, stdout=out)
    return out.getvalue()


def looked_at() -> Report:
    return report(large=100, first=False)


def applied() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations WHERE app = 'shelf' ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def columns() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'shelf_book'"
        )
        return {name for (name,) in cursor.fetchall()}


def lock_books(server: PostgresServer) -> psycopg.Connection:
    """A long query of the site, as the table sees it."""
    site = psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user=server.user,
        password=server.password,
        dbname=server.database,
    )
    site.execute("LOCK TABLE shelf_book IN ACCESS SHARE MODE")
    return site


def test_the_report_shows_each_pending_migration_with_its_kind_and_its_sql(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_note", NOTE)
    write("0003_rename", 'migrations.RenameField("book", "title", "name")')

    note, rename = looked_at().migrations

    assert (note.name, note.phase, note.kind) == ("shelf.0002_note", "before", "expand")
    assert note.sql == ['ALTER TABLE "shelf_book" ADD COLUMN "note" text NULL;']
    assert (rename.kind, rename.reversible) == ("contract", True)
    assert rename.sql == ['ALTER TABLE "shelf_book" RENAME COLUMN "title" TO "name";']
    assert applied() == ["0001_book"]


def test_the_preflight_prints_the_report_as_json(write: Write) -> None:
    write("0001_book", BOOK)
    out = StringIO()

    call_command("preflight", stdout=out)

    answer = json.loads(out.getvalue())
    assert [m["name"] for m in answer["migrations"]] == ["shelf.0001_book"]
    assert "shelf.0001_book" in answer["known"]
    assert answer["refusals"] == []


def test_the_release_that_moves_the_sites_jobs_names_them_once(
    database: PostgresServer, settings: Any, tmp_path: Path
) -> None:
    crontab = tmp_path / "crontab"
    crontab.write_text("0 3 * * * manage.py backup_db\n0 4 * * * manage.py thumbnails --all\n")
    settings.OPS = OpsSettings(crontab=crontab)

    def said(*arguments: str) -> list[str]:
        out = StringIO()
        call_command("preflight", *arguments, stdout=out)
        return [w for w in json.loads(out.getvalue())["warnings"] if "moves from" in w]

    assert said() == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ops_canary RENAME TO not_there_yet")
    [moved] = said()
    assert moved.startswith('"manage.py thumbnails --all" moves from the utility service to jobs')
    assert said("--first") == []


def test_looking_runs_no_python_and_changes_nothing(write: Write) -> None:
    deletes = 'migrations.RunPython(lambda apps, editor: editor.execute("DROP TABLE ops_release"))'
    write("0001_python", deletes, f"migrations.SeparateDatabaseAndState([{deletes}])")

    (found,) = looked_at().migrations

    assert (found.kind, found.reversible) == ("expand", False)
    assert "ops_release" in connection.introspection.table_names()


def test_sql_behind_a_comment_is_judged_too(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_sql", 'migrations.RunSQL("-- tidy up\\nDROP TABLE shelf_book;", "SELECT 1")')

    (found,) = looked_at().migrations

    assert (found.kind, found.sql) == ("contract", ["DROP TABLE shelf_book;"])


def test_a_release_is_ready_without_what_is_applied_after_the_swap(write: Write) -> None:
    write("0001_book", BOOK, NOTE)
    write("0002_drop", 'migrations.RemoveField("book", "note")', phase="contract")
    needed_migrations.cache_clear()

    needed = needed_migrations()
    needed_migrations.cache_clear()

    assert ("shelf", "0001_book") in needed
    assert ("shelf", "0002_drop") not in needed


def test_the_preflight_step_tells_how_to_split_what_breaks_the_live_release(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_drop", 'migrations.RemoveField("book", "title")')
    said: list[str] = []
    migrations = looked_at().as_dict()["migrations"]

    show(migrations[0], said.append)
    with pytest.raises(Refused) as refused:
        require_expanding(migrations)

    assert said[0] == "shelf.0002_drop: contract, irreversible"
    assert 'DROP COLUMN "title"' in said[1]
    assert refused.value.exit_code == 5
    assert "shelf.0002_drop breaks the live release" in refused.value.found
    assert "phase = 'contract'" in refused.value.found
    assert "--maintenance" in refused.value.next


def test_an_index_on_a_large_table_is_a_long_lock(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO shelf_book (title) SELECT repeat('x', 99) FROM generate_series(1, 500)"
        )
    index = 'models.Index(fields=["title"], name="by_title")'
    write("0002_index", f'migrations.AddIndex("book", {index})')

    assert looked_at().migrations[0].kind == "long lock"

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE shelf_book")

    assert "500 rows" in looked_at().migrations[0].operations[0].why


def test_the_authors_word_overrules(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_drop", 'migrations.RemoveField("book", "title")', phase="expand")

    assert looked_at().migrations[0].kind == "expand"


def test_a_column_that_the_new_release_cannot_leave_out_is_not_removed_later(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_drop", 'migrations.RemoveField("book", "title")', phase="contract")

    (refusal,) = looked_at().refusals

    assert "First give the field null=True" in refusal


def test_what_comes_before_the_swap_cannot_stand_on_what_comes_after(write: Write) -> None:
    write("0001_book", BOOK, NOTE)
    run("before")
    write("0002_drop", 'migrations.RemoveField("book", "note")', phase="contract")
    write("0003_more", 'migrations.AddField("book", "more", models.TextField(null=True))')

    (refusal,) = looked_at().refusals
    with pytest.raises(CommandError, match="is marked to run after it"):
        run("before")

    assert "Deploy the release that ends with shelf.0002_drop first" in refusal
    assert applied() == ["0001_book"]


def test_a_first_deployment_applies_everything_in_its_order(write: Write) -> None:
    write("0001_book", BOOK, NOTE)
    write("0002_drop", 'migrations.RemoveField("book", "note")', phase="contract")
    write("0003_more", 'migrations.AddField("book", "more", models.TextField(null=True))')

    found = report(large=100, first=True)
    run("before", "--first")

    assert found.refusals == []
    assert {m.phase for m in found.migrations} == {"before"}
    assert applied() == ["0001_book", "0002_drop", "0003_more"]


def test_each_phase_applies_its_own_migrations_and_django_is_told(write: Write) -> None:
    write("0001_book", BOOK, NOTE)
    write("0002_drop", 'migrations.RemoveField("book", "note")', phase="contract")
    told: list[object] = []

    def listen(**about: object) -> None:
        told.append(about)

    post_migrate.connect(listen)
    try:
        run("before")
        assert applied() == ["0001_book"]
        run("after")
    finally:
        post_migrate.disconnect(listen)

    assert applied() == ["0001_book", "0002_drop"]
    assert columns() == {"id", "title"}
    assert told
    assert "nothing to apply" in run("after")


def test_a_migration_gives_way_to_a_long_query_and_tries_again(
    write: Write, database: PostgresServer, settings: Any
) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_note", NOTE)
    settings.OPS = OpsSettings(lock_timeout_seconds=0.1, lock_attempts=100)
    site = lock_books(database)
    tried = Event()

    class Out(StringIO):
        def write(self, text: str) -> int:
            if "try 1 of 100" in text:
                tried.set()
            return super().write(text)

    def finish_the_query() -> None:
        tried.wait(HUNG_SECONDS)
        site.close()

    query = Thread(target=finish_the_query)
    query.start()
    out = Out()
    call_command("apply_migrations", "before", stdout=out)
    query.join()

    assert "is in use" in out.getvalue()
    assert applied() == ["0001_book", "0002_note"]


def test_a_migration_that_never_gets_its_lock_fails_and_leaves_the_schema(
    write: Write, database: PostgresServer
) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_note", NOTE)

    with lock_books(database), pytest.raises(CommandError) as failed:
        run("before")

    assert "did not get its lock in 2 tries" in str(failed.value)
    assert failed.value.returncode == 1
    assert columns() == {"id", "title"}


def test_an_index_made_concurrently_waits_for_who_is_before_it(
    write: Write, database: PostgresServer
) -> None:
    write("0001_book", BOOK)
    run("before")
    index = 'models.Index(fields=["title"], name="by_title")'
    write("0002_index", f'AddIndexConcurrently("book", {index})', atomic=False)
    assert looked_at().migrations[0].kind == "expand"

    run("before")

    assert applied() == ["0001_book", "0002_index"]


def test_when_one_fails_those_before_it_are_reversed(write: Write) -> None:
    write("0001_book", BOOK)
    run("before")
    write("0002_note", NOTE)
    write("0003_broken", BROKEN)

    with pytest.raises(CommandError) as failed:
        run("before")

    assert "shelf.0003_broken failed (DataError: division by zero)" in str(failed.value)
    assert "the schema is as it was" in str(failed.value)
    assert applied() == ["0001_book"]
    assert columns() == {"id", "title"}


def test_when_one_fails_those_that_cannot_be_reversed_stay(write: Write) -> None:
    write("0001_book", BOOK)
    write("0002_python", 'migrations.RunSQL("SELECT 1")')
    write("0003_broken", BROKEN)

    with pytest.raises(
        CommandError, match=r"stay applied, for shelf\.0002_python cannot be reversed"
    ):
        run("before")

    assert applied() == ["0001_book", "0002_python"]


def test_named_migrations_are_reversed_the_newest_first_and_only_once(write: Write) -> None:
    write("0001_book", BOOK)
    write("0002_note", NOTE)
    write("0003_rename", 'migrations.RenameField("book", "note", "remark")')
    run("before")

    said = run("reverse", "shelf.0002_note", "shelf.0003_rename")

    assert said.splitlines() == ["shelf.0003_rename: reversed", "shelf.0002_note: reversed"]
    assert columns() == {"id", "title"}
    assert "nothing to reverse" in run("reverse", "shelf.0002_note", "shelf.0003_rename")


def test_rows_that_are_gone_are_not_pretended_to_come_back(write: Write) -> None:
    write("0001_book", BOOK, NOTE)
    write("0002_drop", 'migrations.RemoveField("book", "note")')
    run("before")

    with pytest.raises(CommandError, match=r"shelf\.0002_drop cannot be reversed"):
        run("reverse", "shelf.0002_drop")

    assert applied() == ["0001_book", "0002_drop"]
