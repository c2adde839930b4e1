"""Commands that live from Postgres, when it does not answer, or answers that it lets nobody in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.conf import settings as site
from django.db import DatabaseError, connection

from apps.ops.errors import OpsError
from apps.ops.redact import first_line

SECONDS = 5
NEXT = "docker compose ps --all postgres"
# libpq gives a refused login no code of its own.
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry"
    r"|FATAL: .*(?:does not exist|not permitted to log in)"
)


class Trouble(NamedTuple):
    """`found` is a sentence without its full stop; `next` is what to type."""

    found: str
    next: str


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
    trouble = trouble_of(error)
    return OpsError(f"{trouble.found}. {without}", next=trouble.next)


def trouble_of(error: BaseException) -> Trouble:
    """What the site's connection met, as this process makes it."""
    said = first_line(error)
    if not _REFUSED.search(str(error)):
        return Trouble(f"Postgres does not answer as it should ({said})", NEXT)
    user = connection.settings_dict["USER"]
    found = f"Postgres runs and does not let {user} in ({said})"
    if user != site.POSTGRES_LOGINS.user:
        return Trouble(found, "manage.py deploy   # makes its role and password anew")
    return Trouble(
        found,
        "compare POSTGRES_* in .env with what the database was made with; or give it the password "
        f"that .env has: docker compose exec postgres psql --username {user} "
        f"--command '\\password' {connection.settings_dict['NAME']}",
    )
