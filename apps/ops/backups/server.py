"""The database's address, for Postgres' own programs and for the databases beside it."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from django.db import connection
from psycopg.conninfo import make_conninfo

_NOT_FOR_LIBPQ = {"client_encoding", "context", "cursor_factory", "dbname", "prepare_threshold"}


def name() -> str:
    return str(connection.settings_dict["NAME"])


def _parameters() -> dict[str, Any]:
    given = connection.get_connection_params()
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
    database = database or ("template1" if name() == "postgres" else "postgres")
    return psycopg.connect(**{**_parameters(), "dbname": database}, autocommit=True)
