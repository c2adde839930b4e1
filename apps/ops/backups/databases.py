"""The database that a restore fills, and its taking the name of the one that it replaces."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, count
from threading import Event, Thread
from time import monotonic

import psycopg
from django.conf import settings as django_settings
from psycopg import errors, sql

from apps.ops.backups import server

SWAP_SECONDS = 15.0
LONGEST_NAME = 63


def derived(name: str, suffix: str) -> str:
    """A database's name with a suffix, no longer than Postgres allows."""
    return name[: LONGEST_NAME - len(suffix)] + suffix


def name_for_the_old(name: str, stamp: str) -> str:
    """A name that no database has: two restores can fall into the same second."""
    names = (derived(name, f"_before_{stamp}_{nth}") for nth in count(2))
    return next(n for n in chain([derived(name, f"_before_{stamp}")], names) if not _exists(n))


def create(fresh: str, like: str) -> None:
    """An empty database with the encoding and the owner of the one it is to replace."""
    drop(fresh)
    with server.connect() as postgres:
        row = postgres.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba)"
            " FROM pg_database WHERE datname = %s",
            [like],
        ).fetchone()
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(fresh))
        if row:
            encoding, collate, ctype, owner = row
            statement += sql.SQL(" ENCODING {} LC_COLLATE {} LC_CTYPE {} OWNER {}").format(
                sql.Literal(encoding),
                sql.Literal(collate),
                sql.Literal(ctype),
                sql.Identifier(owner),
            )
        postgres.execute(statement)


def drop(fresh: str) -> None:
    """Remove a database, if it is there, whoever is connected."""
    with server.connect() as postgres:
        # FORCE: a pg_restore that outlived its killed parent may still be at it.
        postgres.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(fresh))
        )


def swap(fresh: str, name: str, old: str | None) -> None:
    """Give `fresh` the name, in one transaction; everybody who is connected is disconnected.

    A rename wants nobody connected, and its lock keeps new ones waiting at the door: so it begins
    first, and those inside are ended while it waits for them.
    """
    done = Event()
    thrower = Thread(target=_end_sessions, args=((fresh, name), done), daemon=True)
    thrower.start()
    renames = [(name, old)] if old else []
    deadline = monotonic() + SWAP_SECONDS
    try:
        with server.connect() as postgres:
            postgres.execute(
                sql.SQL("SET lock_timeout = {}").format(sql.Literal(int(SWAP_SECONDS * 1000)))
            )
            while True:
                try:
                    with postgres.transaction():
                        for before, after in [*renames, (fresh, name)]:
                            postgres.execute(
                                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                                    sql.Identifier(before), sql.Identifier(after)
                                )
                            )
                    return
                except errors.ObjectInUse:
                    if monotonic() > deadline:
                        raise
                except psycopg.OperationalError:
                    # The connection was lost: perhaps only the answer to the commit was.
                    if not _exists(fresh):
                        return
                    raise
    finally:
        done.set()
        thrower.join()


def _exists(database: str) -> bool:
    with server.connect() as postgres:
        found = postgres.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
        return found.fetchone() is not None


def _end_sessions(databases: tuple[str, ...], done: Event) -> None:
    # Of a release from before the roles, too, which only another superuser may end.
    logins = django_settings.POSTGRES_LOGINS
    superuser = {"USER": logins.user, "PASSWORD": logins.password}
    with suppress(psycopg.Error), server.as_role(superuser, beside=True) as postgres:
        # By number: the names change while this goes on.
        rows = postgres.execute(
            "SELECT oid FROM pg_database WHERE datname = ANY(%s)", [list(databases)]
        ).fetchall()
        numbers = [row[0] for row in rows]
        while not done.is_set():
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datid = ANY(%s) AND pid <> pg_backend_pid()",
                [numbers],
            )
            done.wait(0.05)
