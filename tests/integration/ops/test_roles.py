"""The roles of a real Postgres: what the site's may do, and how a database is moved to them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, ProgrammingError, connection, connections
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings

from apps.home.models import Message
from apps.ops.backups.restore import find, restore
from apps.ops.backups.take import take
from apps.ops.deploys import history, operations, requests
from apps.ops.deploys.context import Deploy
from apps.ops.errors import StepFailed
from apps.ops.freezes import freeze, publish
from apps.ops.models import Deployment, JobRun, Release, Request, Step
from apps.ops.roles import rights
from apps.ops.roles.logins import KINDS, OPS, OWNER, WEB, Logins
from apps.ops.roles.make import make, not_owned
from tests.conftest import TEMPLATE
from tests.integration.ops.conftest import using
from tests.rig.attacks import FORBIDDEN, REFUSAL
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = %s"
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def test_what_an_attacker_tries_is_refused(made: Logins) -> None:
    let_through = {}
    with signed_in(made, WEB):
        ask("GRANT ALL ON ops_deployment TO site_web")  # Postgres only warns, and grants nothing.
        for what, statement in FORBIDDEN.items():
            try:
                let_through[what] = ask(statement)
            except DatabaseError as error:
                if not re.search(REFUSAL, str(error)):
                    let_through[what] = [error]
    assert let_through == {}


def test_the_sites_role_cannot_look_into_other_databases(
    made: Logins, a_server: PostgresServer
) -> None:
    login = made.of(WEB)
    assert login
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(
                host="127.0.0.1",
                port=a_server.port,
                user=login["USER"],
                password=login["PASSWORD"],
                dbname=database,
            )


@pytest.fixture(scope="module")
def a_server() -> Iterator[PostgresServer]:
    """Not the one that other tests share: roles belong to a whole server."""
    server = PostgresServer(like=Path(os.environ[TEMPLATE]))
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def logins(
    a_server: PostgresServer,
    tmp_path: Path,
    settings: Settings,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Logins]:
    """A database of before, migrated by its superuser, and the empty volumes of the passwords."""
    for kind in KINDS:
        (tmp_path / "secrets" / kind).mkdir(parents=True)
    found = Logins(a_server.user, a_server.password, tmp_path / "secrets")
    a_server.fresh()
    for database in ("template1", "postgres"):
        with as_superuser(a_server, database) as superuser:
            for kind in KINDS:
                if superuser.execute(EXISTS, [found.name(kind)]).fetchone():
                    superuser.execute(f"DROP OWNED BY {found.name(kind)}")
    with as_superuser(a_server) as superuser:
        for kind in KINDS:
            superuser.execute(f"DROP ROLE IF EXISTS {found.name(kind)}")
    settings.POSTGRES_LOGINS = found
    with django_db_blocker.unblock(), using(a_server):
        yield found


@pytest.fixture
def made(logins: Logins, ops_settings: OpsSettingsFactory) -> Logins:
    make(ops_settings(), logins, say=print)
    return logins


def as_superuser(server: PostgresServer, database: str = "site") -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user=server.user,
        password=server.password,
        dbname=database,
        autocommit=True,
    )


@contextmanager
def signed_in(logins: Logins, kind: str) -> Iterator[None]:
    """Django is this role."""
    used = connections.settings["default"]
    before = dict(used)
    login = logins.of(kind)
    assert login
    connection.close()
    used.update(login)
    try:
        yield
    finally:
        connection.close()
        used.update(before)


def ask(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_the_site_works_as_its_role(made: Logins, client: Client, settings: Settings) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    with signed_in(made, WEB):
        posted = client.post("/messages/", {"name": "Ada", "text": "Hello"}, secure=True)
        assert posted.status_code == 303
        Message.objects.update(text="Hello!")
        assert b"Hello!" in client.get("/", secure=True).content
        client.force_login(User.objects.create_superuser("ada"))
        for page in ("", "ops/deployment/", "ops/freeze/", "ops/check/", "home/message/"):
            assert client.get(f"/admin/{page}", secure=True).status_code == 200, page
        Message.objects.all().delete()
        asked = requests.ask("deploy", "main", by="ada", origin="192.0.2.7")
    assert Request.objects.get(pk=asked.pk).outcome == ""


def test_the_site_writes_the_runs_of_its_own_jobs_and_of_no_others(made: Logins) -> None:
    with signed_in(made, OPS):
        JobRun.objects.create(
            job="manage.py backup_db", due=NOW, status="failed", by_operations=True
        )
    with signed_in(made, WEB):
        run = JobRun.objects.create(job="thumbnails", due=NOW, status="running")
        JobRun.objects.filter(pk=run.pk).update(status="succeeded")
        for forged in (
            "UPDATE ops_jobrun SET status = 'succeeded' WHERE job = 'manage.py backup_db'",
            "UPDATE ops_jobrun SET output = 'fine' WHERE job = 'thumbnails'",
            "INSERT INTO ops_jobrun (job, due, status, agent, output)"  # noqa: ISC004
            " VALUES ('manage.py backup_db', now(), 'succeeded', '', '')",
            "DELETE FROM ops_jobrun",
        ):
            with pytest.raises(ProgrammingError, match=r"not the site's|permission denied"):
                ask(forged)
    rows = dict(JobRun.objects.values_list("job", "status"))
    assert rows == {"manage.py backup_db": "failed", "thumbnails": "succeeded"}


def test_operations_write_the_history_and_lift_freezes(made: Logins, tmp_path: Path) -> None:
    with signed_in(made, OPS):
        release = Release.objects.create(sha="a" * 40)
        row = Deployment.objects.create(status="running", ref="main", release=release)
        Step.objects.create(deployment=row, position=1, name="fetch", started_at=NOW)
        freeze("Christmas", by="ada", state_dir=tmp_path)
        publish(tmp_path)
        assert ask("SELECT count(*) FROM pg_stat_activity WHERE query <> ''")
        for statement in ("DROP TABLE ops_step", "SET session_replication_role = replica"):
            with pytest.raises(ProgrammingError, match=REFUSAL):
                ask(statement)


def test_what_ended_stays_so_for_the_owner_too(made: Logins) -> None:
    with signed_in(made, OWNER):
        Deployment.objects.create(status="failed", ref="main", finished_at=NOW)
        with pytest.raises(DatabaseError, match="its status cannot change"):
            Deployment.objects.update(status="succeeded")


def test_none_of_them_is_a_superuser_and_each_has_a_password_of_its_own(
    made: Logins, a_server: PostgresServer
) -> None:
    with as_superuser(a_server) as superuser:
        names = [made.name(kind) for kind in KINDS]
        rows = superuser.execute(
            "SELECT rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication FROM pg_roles"
            " WHERE rolname = ANY(%s)",
            [names],
        ).fetchall()
    assert rows == [(False,)] * 3
    assert len({made.file(kind).read_text() for kind in KINDS}) == 3
    assert {made.file(kind).stat().st_mode & 0o777 for kind in KINDS} == {0o400}


def test_the_second_time_nothing_is_changed(
    made: Logins, ops_settings: OpsSettingsFactory, a_server: PostgresServer
) -> None:
    passwords = [made.file(kind).read_text() for kind in KINDS]
    said: list[str] = []
    make(ops_settings(), made, say=said.append)
    assert said == []
    assert passwords == [made.file(kind).read_text() for kind in KINDS]
    with as_superuser(a_server) as superuser, superuser.cursor() as cursor:
        assert not_owned(cursor, made) == []
        assert rights.missing(cursor, made) == []


def test_what_was_done_by_hand_is_put_right(
    made: Logins, ops_settings: OpsSettingsFactory, a_server: PostgresServer
) -> None:
    with as_superuser(a_server) as superuser:
        superuser.execute("ALTER ROLE site_web SUPERUSER PASSWORD 'guessed'")
        superuser.execute("GRANT site_owner TO site_web")
        superuser.execute("GRANT ALL ON ops_freeze TO site_web")
        superuser.execute("GRANT UPDATE (lifted_at) ON ops_freeze TO PUBLIC")
        superuser.execute("CREATE TABLE by_hand (id serial)")
        superuser.execute("CREATE TYPE mood AS ENUM ('good')")
        superuser.execute("CREATE VIEW by_eye AS SELECT * FROM by_hand")
    make(ops_settings(), made, say=print)
    with signed_in(made, WEB):
        ask("INSERT INTO by_hand DEFAULT VALUES")
        assert ask("SELECT * FROM by_eye") == [(1,)]
        for statement in ("UPDATE ops_freeze SET lifted_at = now()", "SET ROLE site_owner"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                ask(statement)


def test_a_new_table_of_a_migration_has_its_rights(made: Logins) -> None:
    with signed_in(made, OWNER):
        call_command("migrate", "home", "zero", verbosity=0)
        call_command("migrate", "home", verbosity=0)
        ask("CREATE TABLE ops_new (id int)")
        call_command("migrate", "home", verbosity=0)
    with signed_in(made, WEB):
        Message.objects.create(name="Ada", text="Hello")
        assert ask("SELECT * FROM ops_new") == []
        with pytest.raises(ProgrammingError, match="permission denied"):
            ask("INSERT INTO ops_new VALUES (1)")


def test_a_backup_is_taken_and_restored_by_the_owner_with_the_rights_of_today(
    made: Logins, a_server: PostgresServer, ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    settings = ops_settings(backup_dir=tmp_path / "backups")
    settings.backup_dir.mkdir()
    by = {"requested_by": "ada", "media": False, "say": print}
    with as_superuser(a_server) as superuser:
        superuser.execute("GRANT ALL ON ops_freeze TO site_web")
    with signed_in(made, OWNER):
        Message.objects.create(name="Ada", text="Hello")
        take(settings, reason="", release=None, **by)  # type: ignore[arg-type]
        Message.objects.all().delete()
        # The old release is still there, as the superuser.
        with as_superuser(a_server) as old:
            old.execute("SELECT 1")
            restore(settings, find(settings, "latest"), safety=False, **by)  # type: ignore[arg-type]
    with signed_in(made, WEB):
        assert Message.objects.count() == 1
        with pytest.raises(ProgrammingError, match=REFUSAL):
            ask("DELETE FROM ops_freeze")
    with as_superuser(a_server) as superuser, superuser.cursor() as cursor:
        assert not_owned(cursor, made) == []
        assert rights.missing(cursor, made) == []


def test_on_an_empty_server_the_owner_gets_what_the_first_deployment_makes(
    logins: Logins, deploy: Deploy, a_server: PostgresServer
) -> None:
    with as_superuser(a_server) as superuser, superuser.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        operations._prepare(deploy)
        assert not_owned(cursor, logins) == []
        assert rights.missing(cursor, logins) == []
    with signed_in(logins, OWNER):
        call_command("migrate", verbosity=0)
    with signed_in(logins, WEB):
        Message.objects.create(name="Ada", text="Hello")


def test_the_history_is_prepared_by_its_owner(
    made: Logins, a_server: PostgresServer, settings: Settings
) -> None:
    with signed_in(made, OWNER):
        history.prepare()
    with as_superuser(a_server) as superuser, superuser.cursor() as cursor:
        assert not_owned(cursor, made) == []


def test_a_database_under_traffic_is_moved_without_a_failure(
    logins: Logins, ops_settings: OpsSettingsFactory, a_server: PostgresServer
) -> None:
    """The old release's sessions are the superuser's and go on; none waits for long."""
    done, failed, slowest = Event(), [], [0.0]

    def visit() -> None:
        with as_superuser(a_server) as old:
            while not done.is_set():
                begun = monotonic()
                try:
                    old.execute("INSERT INTO django_q_ormq (key, payload) VALUES ('k', 'p')")
                    old.execute("SELECT count(*) FROM ops_deployment")
                except psycopg.Error as error:
                    failed.append(error)
                slowest[0] = max(slowest[0], monotonic() - begun)

    threads = [Thread(target=visit) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        make(ops_settings(), logins, say=print)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert slowest[0] < 2.0


def test_a_table_that_is_in_use_is_tried_again_and_nothing_queues_for_long(
    logins: Logins, ops_settings: OpsSettingsFactory, a_server: PostgresServer
) -> None:
    settings = ops_settings(lock_timeout_seconds=0.1, lock_attempts=2)
    said: list[str] = []
    with as_superuser(a_server) as busy:
        with busy.transaction():
            busy.execute("SELECT * FROM home_message")
            with pytest.raises(
                StepFailed, match=r"home_message .* did not get its lock in 2 tries"
            ):
                make(settings, logins, say=said.append)
        assert sum("in use for longer than 0.1 s" in line for line in said) == 2
        make(settings, logins, say=said.append)
        with busy.cursor() as cursor:
            assert not_owned(cursor, logins) == []


def test_without_the_volumes_all_stays_as_it_is(
    logins: Logins, ops_settings: OpsSettingsFactory, a_server: PostgresServer
) -> None:
    logins.file(WEB).parent.rmdir()
    make(ops_settings(), logins, say=print)
    with as_superuser(a_server) as superuser:
        assert not superuser.execute(EXISTS, [logins.name(WEB)]).fetchone()


@pytest.mark.parametrize(
    ("role", "user"),
    [
        ("web", "site_web"),
        ("worker", "site_web"),
        ("preflight", "site_web"),
        ("migrate", "site_owner"),
        ("utility", "site_ops"),
        ("a service of the site's own", "site_web"),
    ],
)
def test_a_process_signs_in_as_its_role(made: Logins, role: str, user: str) -> None:
    assert made.for_process(role)["USER"] == user


def test_where_no_password_was_written_the_superuser_is_what_there_is(logins: Logins) -> None:
    assert logins.for_process("web") == {"USER": "site", "PASSWORD": "for-tests-only"}
