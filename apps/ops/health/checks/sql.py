"""A check's own short connection to Postgres. Django's would wait for as long as Postgres hangs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from time import monotonic

import psycopg
from django.db import connection

from apps.ops.health.checks.limits import SECONDS
from apps.ops.postgres import NEXT, Trouble, trouble_of

_LEAST_SECONDS = 0.2


class Away(Exception):
    """The question has no answer; its text is a sentence about why, without its full stop."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.found)
        self.next = trouble.next


@contextmanager
def asking() -> Iterator[psycopg.Connection]:
    """A connection to the site's database that lasts SECONDS at the most.

    Raises:
        Away: it cannot be made, a question failed, or the time is up.
    """
    begun = monotonic()
    given = connection.get_connection_params()
    options = f"{given.get('options') or ''} -c statement_timeout={SECONDS * 750:.0f}".strip()
    given |= {"connect_timeout": int(SECONDS), "application_name": "health", "options": options}
    try:
        with (
            psycopg.connect(**given, autocommit=True) as asked,
            _cut_after(SECONDS - (monotonic() - begun), asked),
        ):
            yield asked
    except psycopg.Error as error:
        if monotonic() - begun >= SECONDS:
            late = f"Postgres does not answer as it should (no answer within {SECONDS:g} s)"
            raise Away(Trouble(late, NEXT)) from error
        raise Away(trouble_of(error)) from error


@contextmanager
def _cut_after(seconds: float, asked: psycopg.Connection) -> Iterator[None]:
    """A frozen server keeps the connection open and says nothing: no timeout of libpq ends that."""
    with socket.socket(fileno=os.dup(asked.fileno())) as line:

        def cut() -> None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = Timer(max(seconds, _LEAST_SECONDS), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
