"""Backups of a real Postgres: what is taken, what stays, and what a restore may not break."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from apps.ops.backups import databases as naming
from apps.ops.backups import files, keep, server
from apps.ops.backups import restore as restoring
from apps.ops.backups.take import take
from apps.ops.conf import OpsSettings
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.steps.backup import Backup as BackupStep
from apps.ops.errors import Busy, OpsError, Refused, StepFailed
from apps.ops.models import Backup, Release
from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

pytestmark = pytest.mark.slow

LIVE = "a" * 40


@pytest.fixture
def ops(
    database: PostgresServer,
    settings: Settings,
    ops_settings: OpsSettingsFactory,
    tmp_path: Path,
) -> Iterator[OpsSettings]:
    """A migrated database with one note in it, uploads, and an empty backup directory."""
    settings.OPS = ops_settings(backup_dir=tmp_path / "backups")
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "media/photos").mkdir(parents=True)
    (tmp_path / "media/photos/one.jpg").write_bytes(b"one")
    Backup.objects.all().delete()
    write("DROP TABLE IF EXISTS note", "CREATE TABLE note (text text)")
    write("INSERT INTO note VALUES ('first')")
    yield settings.OPS
    connection.close()
    with server.connect() as postgres:
        others = postgres.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{server.name()}\\_%"]
        ).fetchall()
        for (name,) in others:
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def write(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def notes() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT text FROM note ORDER BY text")
        return [row[0] for row in cursor.fetchall()]


def databases() -> set[str]:
    with server.connect() as postgres:
        return {row[0] for row in postgres.execute("SELECT datname FROM pg_database")}


def backup(settings: OpsSettings, **changes: Any) -> Backup:
    how: dict[str, Any] = {
        "reason": "a test",
        "requested_by": "ada",
        "release": None,
        "media": False,
        "say": print,
    }
    return take(settings, **{**how, **changes})


def put_back(settings: OpsSettings, name: str, **changes: Any) -> restoring.Restored:
    how: dict[str, Any] = {"requested_by": "ada", "media": False, "safety": True, "say": print}
    return restoring.restore(settings, restoring.find(settings, name), **{**how, **changes})


def as_command(settings: OpsSettings) -> dict[str, str]:
    """The environment of a process that works on the same database and directories."""
    used = connection.settings_dict
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "OPS_BACKUP_DIR": str(settings.backup_dir),
        "OPS_STATE_DIR": str(settings.state_dir),
        "OPS_REQUESTED_BY": "ada",
        "POSTGRES_DB": str(used["NAME"]),
        **{f"POSTGRES_{key}": str(used[key]) for key in ("HOST", "PORT", "USER", "PASSWORD")},
    }


def in_directory(settings: OpsSettings) -> set[str]:
    return {path.name for path in settings.backup_dir.iterdir()} - {".lock"}


def test_a_backup_is_private_checksummed_and_recorded(ops: OpsSettings) -> None:
    release, _ = Release.objects.get_or_create(sha=LIVE)

    made = backup(ops, release=LIVE, media=True)

    row = Backup.objects.get()
    assert (row.status, row.reason, row.requested_by) == ("verified", "a test", "ada")
    assert (row.release, row.name) == (release, made.name)
    dump = ops.backup_dir / made.name
    assert row.size == dump.stat().st_size > 0
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert in_directory(ops) == {path.name for path in files.belongings(dump)}
    sums = ["sha256sum", "--check", "--strict", files.sums_of(dump).name]
    assert subprocess.run(sums, cwd=ops.backup_dir, check=False).returncode == 0
    with tarfile.open(files.media_of(dump)) as archive:
        assert archive.getnames() == ["photos", "photos/one.jpg"]


def test_what_was_written_since_the_backup_is_gone_and_kept_aside(ops: OpsSettings) -> None:
    made = backup(ops)
    write("INSERT INTO note VALUES ('second')")

    done = put_back(ops, "latest")

    assert notes() == ["first"]
    assert done.missing == []
    with server.connect(done.kept_as) as old:
        assert {row[0] for row in old.execute("SELECT text FROM note")} == {"first", "second"}
    # The dump was made while its own row said "running", and knows nothing of the safety backup.
    known = dict(Backup.objects.values_list("name", "status"))
    assert known == {made.name: "verified", done.safety: "verified"}
    put_back(ops, done.safety)
    assert notes() == ["first", "second"]


def test_uploads_come_back_and_those_of_today_are_kept_aside(
    ops: OpsSettings, settings: Settings
) -> None:
    backup(ops, media=True)
    root = Path(settings.MEDIA_ROOT)
    (root / "photos/one.jpg").write_bytes(b"changed")
    (root / "two.jpg").write_bytes(b"two")

    done = put_back(ops, "latest", media=True)

    assert (root / "photos/one.jpg").read_bytes() == b"one"
    assert not (root / "two.jpg").exists()
    assert (Path(done.media_kept_in) / "two.jpg").read_bytes() == b"two"
    assert not list(root.glob(".restoring-*"))


def test_a_damaged_backup_is_refused_and_nothing_is_touched(ops: OpsSettings) -> None:
    made = backup(ops)
    with (ops.backup_dir / made.name).open("r+b") as dump:
        dump.seek(-1, os.SEEK_END)
        dump.write(b"\0" if dump.read(1) != b"\0" else b"\1")
    before = databases()

    with pytest.raises(Refused, match=r"is damaged: its SHA-256") as caught:
        put_back(ops, made.name)

    assert caught.value.exit_code == 5
    assert (databases(), notes()) == (before, ["first"])
    assert Backup.objects.count() == 1


def test_a_restore_that_fails_leaves_the_old_database(ops: OpsSettings) -> None:
    made = backup(ops)
    dump = ops.backup_dir / made.name
    # Well signed, and half of it: what a program with a bug would have written.
    dump.write_bytes(dump.read_bytes()[: made.size // 2])
    files.sums_of(dump).write_text(f"{files.sha256(dump)}  {dump.name}\n")
    before = databases()

    with pytest.raises(StepFailed, match="could not restore the backup"):
        put_back(ops, made.name)

    assert (databases(), notes()) == (before, ["first"])


def test_what_a_trigger_does_to_new_rows_it_does_not_to_restored_ones(
    ops: OpsSettings,
) -> None:
    # pg_dump makes a partition's rows depend on nothing that its parent has.
    write(
        "DROP TABLE IF EXISTS event",
        "CREATE TABLE event (id int, text text) PARTITION BY RANGE (id)",
        *(
            f"CREATE TABLE event_{n} PARTITION OF event FOR VALUES FROM ({n}) TO ({n + 1})"
            for n in range(20)
        ),
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.text := 'changed'; RETURN NEW; END $$",
        "INSERT INTO event SELECT n % 20, 'as it was' FROM generate_series(1, 2000) n",
        "CREATE TRIGGER stamp BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION stamp()",
        "CREATE TRIGGER stamp BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION stamp()",
    )
    try:
        put_back(ops, backup(ops).name, safety=False)
        write("INSERT INTO event VALUES (1, 'new')")

        with connection.cursor() as cursor:
            cursor.execute("SELECT text, count(*) FROM event GROUP BY text ORDER BY text")
            assert cursor.fetchall() == [("as it was", 2000), ("changed", 1)]
        assert notes() == ["first"]
    finally:
        write("DROP TABLE event", "DROP FUNCTION stamp CASCADE")


def test_a_database_that_is_no_django_project_is_not_put_in_place(ops: OpsSettings) -> None:
    write("ALTER TABLE django_migrations RENAME TO elsewhere")
    try:
        made = backup(ops)
        before = databases()
        with pytest.raises(StepFailed, match="it is not one of a Django project"):
            put_back(ops, made.name)
        assert databases() == before
    finally:
        write("ALTER TABLE elsewhere RENAME TO django_migrations")


def test_who_is_connected_is_disconnected_by_the_swap(ops: OpsSettings) -> None:
    backup(ops)
    write("INSERT INTO note VALUES ('second')")
    stop = Event()
    errors: list[str] = []

    def visit() -> None:
        while not stop.is_set():
            try:
                with server.connect(server.name()) as visitor:
                    while not stop.is_set():
                        visitor.execute("SELECT count(*) FROM note, pg_sleep(0.01)")
            except psycopg.OperationalError as error:
                errors.append(str(error))

    visitors = [Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        put_back(ops, "latest", safety=False)
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()

    assert notes() == ["first"]
    assert any("terminating connection" in error for error in errors)


def test_both_renames_happen_or_none(ops: OpsSettings) -> None:
    name = server.name()
    connection.close()

    with pytest.raises(psycopg.errors.InvalidCatalogName):
        naming.swap(f"{name}_that_is_not_there", name, f"{name}_before")

    assert f"{name}_before" not in databases()
    assert notes() == ["first"]


def test_a_restore_killed_on_its_way_leaves_a_database_the_next_one_replaces(
    ops: OpsSettings,
) -> None:
    backup(ops)
    with server.connect() as postgres:
        postgres.execute(f"CREATE DATABASE {server.name()}_restoring")

    put_back(ops, "latest", safety=False)

    assert notes() == ["first"]
    assert f"{server.name()}_restoring" not in databases()


def test_an_empty_server_gets_its_database_back(ops: OpsSettings) -> None:
    made = backup(ops)
    write("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    done = put_back(ops, made.name)

    assert notes() == ["first"]
    assert Backup.objects.filter(name=done.safety, status="verified").exists()


def test_a_wrong_password_leaves_nothing_that_looks_like_a_backup(
    ops: OpsSettings, database: PostgresServer
) -> None:
    connection.ensure_connection()
    good = connection.settings_dict["PASSWORD"]
    connection.settings_dict["PASSWORD"] = "wrong"
    try:
        with pytest.raises(StepFailed, match="pg_dump ended with exit code 1") as caught:
            backup(ops)
    finally:
        connection.settings_dict["PASSWORD"] = good

    assert "password authentication failed" in caught.value.output
    assert in_directory(ops) == set()
    row = Backup.objects.get()
    assert row.status == "failed"
    assert "password authentication failed" in row.error


def test_a_full_disk_fails_the_backup_and_leaves_nothing(ops: OpsSettings) -> None:
    write("INSERT INTO note SELECT gen_random_uuid()::text FROM generate_series(1, 20000)")
    code = (
        "import django, signal; django.setup(); signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from django.core.management import call_command; call_command('backup_db')"
    )
    done = subprocess.run(
        ["prlimit", "--fsize=100000", sys.executable, "-c", code],
        env=as_command(ops),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "could not be written to" in done.stderr
    assert "Traceback" not in done.stderr
    assert in_directory(ops) == set()
    assert Backup.objects.get().status == "failed"


def test_a_dump_that_hangs_is_ended_at_its_deadline(
    ops: OpsSettings, ops_settings: OpsSettingsFactory
) -> None:
    short = ops_settings(backup_dir=ops.backup_dir, backup_seconds=1.0)
    with server.connect(server.name()) as other, other.transaction():
        other.execute("LOCK TABLE note IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StepFailed, match="pg_dump did not end within 1 s"):
            backup(short)

    assert in_directory(ops) == set()


def test_a_backup_that_was_killed_is_closed_by_the_next_one(ops: OpsSettings) -> None:
    dead = Backup.objects.create(name="site-20260101-000000.dump", started_at=timezone.now())
    ops.backup_dir.mkdir()
    (ops.backup_dir / ".site-20260101-000000.dump.partial").write_bytes(b"half")
    (ops.backup_dir / ".site-20260101-000000.media.tar.gz.partial").write_bytes(b"half")
    (ops.backup_dir / ".somebody-elses.partial").write_bytes(b"theirs")

    made = backup(ops)

    dead.refresh_from_db()
    assert dead.status == "failed"
    dump = ops.backup_dir / made.name
    assert in_directory(ops) == {dump.name, files.sums_of(dump).name, ".somebody-elses.partial"}


def test_the_newest_stay_whatever_their_age_and_of_the_rest_the_young_ones(
    ops: OpsSettings, ops_settings: OpsSettingsFactory, settings: Any
) -> None:
    some = ops_settings(backup_dir=ops.backup_dir, backup_keep=2, backup_keep_days=30)
    ops.backup_dir.mkdir()
    days = [100, 90, 80, 20, 10] + [70, 60]  # The last two lost their file, and count for nothing.
    rows = []
    for age in days:
        row = Backup.objects.create(
            name=f"site-20260101-{age:06}.dump",
            status="verified",
            started_at=timezone.now() - timedelta(days=age),
        )
        if age not in (70, 60):
            (ops.backup_dir / row.name).write_bytes(b"dump")
            files.sums_of(ops.backup_dir / row.name).write_text("")
        rows.append(row)
    (ops.backup_dir / "mine.dump").write_bytes(b"not ours")

    settings.WRONG_VARIABLES = ("OPS_BACKUP_KEEP must be a whole number.",)
    assert keep.prune(some, say=print) == []
    settings.WRONG_VARIABLES = ()
    removed = keep.prune(some, say=print, spare=rows[1].name)

    assert removed == [rows[2].name, rows[0].name]
    assert {row.status for row in Backup.objects.filter(name__in=removed)} == {"removed"}
    kept = {path.name for path in ops.backup_dir.glob("*.dump")}
    assert kept == {rows[1].name, rows[3].name, rows[4].name, "mine.dump"}
    assert not files.sums_of(ops.backup_dir / rows[0].name).exists()
    only = ops_settings(backup_dir=ops.backup_dir, backup_keep=4, backup_keep_days=0)
    assert keep.prune(only, say=print) == []


@pytest.mark.parametrize(
    ("migrations", "said"),
    [
        ([], "not needed: no migrations"),
        ([{"kind": "expand", "reversible": True}], "not needed: the migrations only add"),
        ([{"kind": "contract", "reversible": True}], "MB"),
        ([{"kind": "expand", "reversible": False}], "MB"),
    ],
)
def test_a_deployment_takes_one_before_a_migration_that_does_not_only_add(
    ops: OpsSettings, deploy: Deploy, migrations: list[dict[str, Any]], said: str
) -> None:
    deploy.settings = ops
    deploy.intend("preflight", migrations=migrations)

    assert said in BackupStep().run(deploy)

    assert Backup.objects.count() == (said == "MB")


def test_restoring_waits_for_no_deployment_and_asks_nobody_who_is_not_there(
    ops: OpsSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    backup(ops)

    with pytest.raises(SystemExit) as refused:
        call_command("restore_db", "latest")
    with deploy_lock(ops.state_dir, holder="grace"), pytest.raises(SystemExit) as busy:
        call_command("restore_db", "latest", "--noinput")

    assert refused.value.code == Refused.exit_code
    assert busy.value.code == Busy.exit_code
    said = capsys.readouterr().err
    assert "no terminal to ask on" in said
    assert "grace" in said


def test_the_commands_take_list_and_restore(
    ops: OpsSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("backup_db", "--reason", "before I try something")
    write("INSERT INTO note VALUES ('second')")
    number = Backup.objects.get().pk

    call_command("backup_db", "--list")
    call_command("restore_db", str(number), "--noinput", "--no-safety-backup")

    said = capsys.readouterr().out
    assert f"{number}  {server.name()}-" in said
    assert "before I try something (ada)" in said
    assert "The old one is kept as" in said
    assert notes() == ["first"]


def test_the_list_works_with_postgres_down(
    ops: OpsSettings, database: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = backup(ops)
    connection.close()
    database.stop()

    call_command("backup_db", "--list")

    assert made.name in capsys.readouterr().out
    with pytest.raises(OpsError, match="No backup was taken: Postgres does not answer"):
        backup(ops)
    with pytest.raises(OpsError, match="the database is as it was"):
        put_back(ops, made.name)
    database.bring_back()
    wait_until(lambda: notes() == ["first"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_asks_naming_what_it_overwrites_and_no_is_no(
    ops: OpsSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backup(ops)
    write("INSERT INTO note VALUES ('second')")

    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    with pytest.raises(SystemExit) as no:
        call_command("restore_db", "latest")
    asked = capsys.readouterr().out
    after_no = notes()
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    call_command("restore_db", "latest")

    assert no.value.code == 130
    question = rf"replaces the database {server.name()} \(\d+\.\d MB\) by {made.name}, taken 0 min"
    assert re.search(question, asked)
    assert (after_no, notes()) == (["first", "second"], ["first"])


def test_a_restore_that_is_killed_leaves_one_whole_database(ops: OpsSettings) -> None:
    backup(ops)
    write("INSERT INTO note SELECT 'many' FROM generate_series(1, 200000)")
    many = backup(ops)
    write("TRUNCATE note", "INSERT INTO note VALUES ('second')")
    code = (
        "import django; django.setup();"
        "from django.core.management import call_command;"
        f"call_command('restore_db', '{many.name}', '--noinput', '--no-safety-backup')"
    )
    connection.close()
    process = subprocess.Popen([sys.executable, "-c", code], env=as_command(ops))
    wait_until(lambda: f"{server.name()}_restoring" in databases())
    process.kill()
    process.wait()

    assert notes() == ["second"]
    put_back(ops, many.name)
    assert len(notes()) == 200001
