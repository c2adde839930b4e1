"""The database's address, for Postgres' own programs and for the databases beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connections
from psycopg.conninfo import make_conninfo

_NOT_FOR_LIBPQ = {"client_encoding", "context", "cursor_factory", "dbname", "prepare_threshold"}


def owner_alias() -> str:
    """The connection of whoever owns the tables. Where all is one role's, it is the usual one."""
    return "owner" if "owner" in connections.settings else "default"


def name() -> str:
    return str(connections["default"].settings_dict["NAME"])


def _parameters() -> dict[str, Any]:
    given = connections[owner_alias()].get_connection_params()
    return {key: given[key] for key in given if key not in _NOT_FOR_LIBPQ}


def address(database: str) -> str:
    """What `--dbname` takes. Without the password: others read a command line."""
    return make_conninfo(**{**_parameters(), "password": None, "dbname": database})


def environment() -> dict[str, str]:
    """The password, for a program that is given an `address`."""
    password = _parameters().get("password")
    return {"PGPASSWORD": str(password)} if password else {}


def program_environment() -> dict[str, str]:
    return {**os.environ, **environment()}


def connect(database: str | None = None) -> psycopg.Connection:
    """Autocommit, beside Django's connections; by default to the maintenance database."""
    return psycopg.connect(**{**_parameters(), "dbname": database or _beside()}, autocommit=True)


def _beside() -> str:
    return "template1" if name() == "postgres" else "postgres"


def as_role(login: Mapping[str, str], *, beside: bool = False) -> psycopg.Connection:
    """The same as another role.

    Args:
        login: USER and PASSWORD.
        beside: to the maintenance database instead of the site's.
    """
    database = _beside() if beside else name()
    who = {"user": login["USER"], "password": login["PASSWORD"], "dbname": database}
    return psycopg.connect(**{**_parameters(), **who}, autocommit=True)
