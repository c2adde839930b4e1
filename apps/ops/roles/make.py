"""Making the roles: what alone needs Postgres' superuser, at the beginning of a deployment.

All of it only adds, and each part is looked at before it is done: a deployment that is killed in
here leaves nothing to undo, and the next one goes on. Releases from before the roles sign in as the
superuser, as ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from time import sleep

import psycopg
from psycopg import errors

from apps.ops.backups.server import as_role
from apps.ops.conf import OpsSettings
from apps.ops.errors import StepFailed
from apps.ops.processes import Say
from apps.ops.roles import rights
from apps.ops.roles.logins import KINDS, OPS, OWNER, WEB, Logins
from apps.ops.roles.rights import quote
from apps.ops.secret_files import APP, write

ATTRIBUTES = {
    # A restore makes a new database and takes the old one's place.
    OWNER: "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
    WEB: "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
    OPS: "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
}
MEMBER_OF = {
    OWNER: {"pg_signal_backend"},
    WEB: set(),
    OPS: {"pg_monitor", "pg_signal_backend"},
}
READER = {OWNER: APP, WEB: APP, OPS: 0}
LONGEST_PAUSE_SECONDS = 5.0


def make(settings: OpsSettings, logins: Logins, *, say: Say) -> None:
    """Let the roles be there, sign in with the passwords in their files, own what is theirs, and
    have the rights that `rights` has. Nothing where the roles' volumes are not mounted.

    Raises:
        psycopg.Error: Postgres does not answer, or POSTGRES_PASSWORD is not its superuser's.
        StepFailed: a table is in use all the time; or a file cannot be written.
    """
    if not logins.are_kept_here:
        return
    with as_role({"USER": logins.user, "PASSWORD": logins.password}) as postgres:
        milliseconds = str(int(settings.lock_timeout_seconds * 1000))
        postgres.execute("SELECT set_config('lock_timeout', %s, false)", [milliseconds])
        for kind in KINDS:
            _role(postgres, logins, kind, say)
        for kind in KINDS:
            _password(postgres, logins, kind, say)
        _doors(postgres, logins)
        for statement in not_owned(postgres.cursor(), logins):
            _patiently(lambda s=statement: _do(postgres, s), statement, settings, say)  # type: ignore[misc]
        postgres.execute(f"SET ROLE {quote(logins.name(OWNER))}")
        _patiently(lambda: _apply(postgres, logins, say), "the rights", settings, say)


def not_owned(cursor: rights.Cursor, logins: Logins) -> list[str]:
    """The statements that would give the owner what is somebody else's in this database. What
    belongs to an extension stays its maker's."""
    owner = logins.name(OWNER)
    to = f"OWNER TO {quote(owner)}"
    cursor.execute(_SOMEBODY_ELSES, {"owner": owner})
    return [f"ALTER {what} {name} {to}" for what, name in cursor.fetchall()]


_SOMEBODY_ELSES = """
WITH
    mine AS (SELECT oid FROM pg_roles WHERE rolname = %(owner)s),
    ours AS (
        SELECT oid, nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    ),
    of_extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT 'DATABASE', quote_ident(datname) FROM pg_database
    WHERE datname = current_database() AND datdba NOT IN (TABLE mine)
UNION ALL
SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace
    WHERE oid IN (SELECT oid FROM ours) AND nspowner NOT IN (TABLE mine)
    AND nspowner <> 'pg_database_owner'::regrole
    AND ('pg_namespace'::regclass, oid) NOT IN (TABLE of_extensions)
UNION ALL
SELECT
    CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
        WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
    c.oid::regclass::text
    FROM pg_class c
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    AND relnamespace IN (SELECT oid FROM ours) AND relowner NOT IN (TABLE mine)
    AND ('pg_class'::regclass, oid) NOT IN (TABLE of_extensions)
    -- A column's sequence goes with its table.
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
        AND deptype IN ('a', 'i') AND relkind = 'S'
    )
UNION ALL
SELECT 'ROUTINE', oid::regprocedure::text FROM pg_proc
    WHERE pronamespace IN (SELECT oid FROM ours) AND proowner NOT IN (TABLE mine)
    AND ('pg_proc'::regclass, oid) NOT IN (TABLE of_extensions)
UNION ALL
SELECT 'TYPE', oid::regtype::text FROM pg_type
    WHERE typtype IN ('e', 'd', 'r') AND typnamespace IN (SELECT oid FROM ours)
    AND typowner NOT IN (TABLE mine) AND ('pg_type'::regclass, oid) NOT IN (TABLE of_extensions)
UNION ALL
SELECT 'COLLATION', oid::regcollation::text FROM pg_collation
    WHERE collnamespace IN (SELECT oid FROM ours) AND collowner NOT IN (TABLE mine)
    AND ('pg_collation'::regclass, oid) NOT IN (TABLE of_extensions)
"""


def _role(postgres: psycopg.Connection, logins: Logins, kind: str, say: Say) -> None:
    name, attributes = logins.name(kind), ATTRIBUTES[kind]
    row = postgres.execute(
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,"
        " ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid)"
        " FROM pg_roles r WHERE rolname = %s",
        [name],
    ).fetchone()
    if row is None:
        say(f"role {name}: made")
        postgres.execute(f"CREATE ROLE {quote(name)} {attributes}")
    elif row[:6] != tuple(word[:2] != "NO" for word in attributes.split()):
        say(f"role {name}: {attributes}")
        postgres.execute(f"ALTER ROLE {quote(name)} {attributes}")
    has, wanted = set(row[6]) if row else set(), MEMBER_OF[kind]
    for other in sorted(wanted - has):
        postgres.execute(f"GRANT {other} TO {quote(name)}")
    for other in sorted(has - wanted):
        postgres.execute(f"REVOKE {other} FROM {quote(name)}")


def _password(postgres: psycopg.Connection, logins: Logins, kind: str, say: Say) -> None:
    """The file first: a password that only Postgres knew would let nobody in."""
    login = logins.of(kind)
    if not (login and login["PASSWORD"]):
        write(logins.file(kind), secrets.token_urlsafe(32), reader=READER[kind])
        login = logins.of(kind)
    assert login
    try:
        with as_role(login):
            return
    except psycopg.OperationalError:
        say(f"role {login['USER']}: signs in with a new password")
    # What the log could show of the statement is not the password itself.
    verifier = postgres.pgconn.encrypt_password(
        login["PASSWORD"].encode(), login["USER"].encode(), b"scram-sha-256"
    ).decode()
    postgres.execute(f"ALTER ROLE {quote(login['USER'])} PASSWORD '{verifier}'")


def _doors(postgres: psycopg.Connection, logins: Logins) -> None:
    """The site has no business in the databases beside its own; those who restore have."""
    for database in ("postgres", "template1"):
        rows = postgres.execute(
            "SELECT a.grantee::regrole::text FROM pg_database,"
            " aclexplode(coalesce(datacl, acldefault('d', datdba))) a"
            " WHERE datname = %s AND a.privilege_type = 'CONNECT'",
            [database],
        ).fetchall()
        has = {grantee for (grantee,) in rows}
        if "-" in has:  # Everybody.
            postgres.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        for role in (quote(logins.name(OWNER)), quote(logins.name(OPS))):
            if not {role, role.strip('"')} & has:
                postgres.execute(f"GRANT CONNECT ON DATABASE {database} TO {role}")


def _do(postgres: psycopg.Connection, statement: str) -> None:
    with postgres.transaction():
        postgres.execute(statement)


def _apply(postgres: psycopg.Connection, logins: Logins, say: Say) -> None:
    with postgres.transaction(), postgres.cursor() as cursor:
        if done := rights.apply(cursor, logins):
            say(f"rights: {len(done)} changed")


def _patiently(act: Callable[[], None], what: str, settings: OpsSettings, say: Say) -> None:
    """As migrations do: requests queue behind a lock that we wait for, so each wait is short."""
    attempts = max(settings.lock_attempts, 1)
    for pause in _pauses(attempts):
        try:
            return act()
        except errors.LockNotAvailable:
            say(f"{what}: in use for longer than {settings.lock_timeout_seconds:g} s")
        sleep(pause)
    raise StepFailed(
        f"{what} did not get its lock in {attempts} tries: something uses the table all the time.",
        next="raise OPS_LOCK_ATTEMPTS, or look for long queries in pg_stat_activity",
    )


def _pauses(attempts: int) -> Iterator[float]:
    for attempt in range(attempts):
        yield min(0.5 * 2**attempt, LONGEST_PAUSE_SECONDS) if attempt < attempts - 1 else 0.0
