"""Can this process serve requests? The database, the cache, and the migrations it was written for.

Each question is asked in a thread of its own with a deadline, because a frozen server (SIGSTOP, a
dead link) accepts connections and then says nothing: no driver timeout covers all of that. One
thread a question and process: while an answer is overdue, asking again costs nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Overdue
from functools import cache
from threading import Lock
from time import monotonic

from django.core.cache import caches
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from apps.ops.schema.plan import is_contract_phase

DEADLINE_SECONDS = 2.0


def check() -> dict[str, str]:
    """Ask everything side by side.

    Returns:
        For each question "ok" or what is wrong, in one line without secrets. Takes
        DEADLINE_SECONDS at the most.
    """
    deadline = monotonic() + DEADLINE_SECONDS
    asked = {name: question.ask() for name, question in _questions().items()}
    return {name: _outcome(future, deadline - monotonic()) for name, future in asked.items()}


def _outcome(future: Future[None], seconds: float) -> str:
    try:
        future.result(timeout=max(seconds, 0))
    except Overdue:
        return f"no answer within {DEADLINE_SECONDS:g} s"
    except _NotReady as error:
        return str(error)
    except Exception as error:
        return type(error).__name__
    return "ok"


class _NotReady(Exception):
    pass


class _Question:
    def __init__(self, ask: Callable[[], None]) -> None:
        self._run = ask
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ready")
        self._lock = Lock()
        self._pending: Future[None] | None = None

    def ask(self) -> Future[None]:
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = self._thread.submit(self._run)
            return self._pending


@cache
def _questions() -> dict[str, _Question]:
    # Made at the first request, hence after gunicorn's fork: threads do not survive one.
    return {"database": _Question(_database), "cache": _Question(_cache)}


def _database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = {(str(app), str(name)) for app, name in cursor.fetchall()}
    finally:
        # This thread's own connection; kept open it would be one more per process, for ever.
        connection.close()
    if missing := sorted(needed_migrations() - applied):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise _NotReady(f"migration {'.'.join(missing[0])}{more} is not applied")


@cache
def needed_migrations() -> frozenset[tuple[str, str]]:
    """The migrations in this release's files that it cannot serve without.

    Left out: those that a squashed one replaces, and those that are applied after the swap.
    """
    loader = MigrationLoader(None, ignore_no_migrations=True)
    replaced = {key for migration in loader.disk_migrations.values() for key in migration.replaces}
    later = {k for k, m in loader.disk_migrations.items() if is_contract_phase(m)}
    return frozenset(loader.disk_migrations.keys() - replaced - later)


def _cache() -> None:
    key, value = "ops:ready", secrets.token_hex(4)
    caches["default"].set(key, value, timeout=10)
    if caches["default"].get(key) is None:
        raise _NotReady("the cache forgets what it is told")
