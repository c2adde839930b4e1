"""Commands that live from Postgres, when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection

from apps.ops.errors import OpsError
from apps.ops.redact import first_line

SECONDS = 5


@contextmanager
def answering(*, without: str) -> Iterator[None]:
    """Ask Postgres, and no longer than SECONDS for each question.

    Args:
        without: what cannot be done or known without it, a sentence.

    Raises:
        OpsError: it does not answer.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{SECONDS}s'")
        yield
    except DatabaseError as error:
        raise away(error, without=without) from error


def away(error: DatabaseError, *, without: str) -> OpsError:
    return OpsError(
        f"Postgres does not answer as it should ({first_line(error)}). {without}",
        next="docker compose ps --all postgres",
    )
