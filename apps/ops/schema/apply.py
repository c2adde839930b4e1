"""Apply migrations one by one, without queueing the site behind a lock that we wait for."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from django.contrib.postgres.operations import (
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from psycopg.errors import LockNotAvailable

from apps.ops.conf import OpsSettings
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import Say
from apps.ops.schema.judge import flatten, migration_is_reversible
from apps.ops.schema.plan import Phase, blockers, is_contract_phase, key, pending

LONGEST_PAUSE_SECONDS = 5.0
NEXT = "manage.py showmigrations   # what is applied"


def apply(phase: Phase, *, settings: OpsSettings, say: Say, first: bool = False) -> list[str]:
    """Apply the pending migrations of a phase, in order.

    Args:
        first: no release is live: everything belongs to the phase "before".

    Returns:
        The names of those that were applied.

    Raises:
        StepFailed: one failed. In the phase "before" those that this call applied are reversed when
            all of them can be; if not, the message says which stay.
    """
    loader = MigrationLoader(connection)
    todo = [
        m for m in pending(loader) if (is_contract_phase(m) and not first) == (phase == "after")
    ]
    _require_order(loader, todo, phase, first=first)
    if not todo:
        say("nothing to apply")
        return []
    plan = [(migration, False) for migration in todo]
    emit_pre_migrate_signal(0, False, connection.alias, plan=plan)
    done: list[Migration] = []
    try:
        for migration in todo:
            _patiently(migration, settings, say, lambda m=migration: _forwards(m))  # type: ignore[misc]
            done.append(migration)
            say(f"{key(migration)}: applied")
    except Exception as error:
        raise _failure(migration, error, done, phase, settings, say) from error
    _set_lock_timeout(0)  # What listens only adds rows: nobody queues behind that.
    emit_post_migrate_signal(0, False, connection.alias, plan=plan)
    return [key(migration) for migration in done]


def reverse(names: list[str], *, settings: OpsSettings, say: Say) -> list[str]:
    """Reverse those of the named migrations that are applied, the newest first.

    Returns:
        The names of those that were reversed: none when none was applied.

    Raises:
        Refused: one of them cannot be reversed: then none is.
        StepFailed: one failed.
    """
    loader = MigrationLoader(connection)
    applied = [
        migration
        for node, migration in loader.graph.nodes.items()
        if f"{node[0]}.{node[1]}" in names and node in loader.applied_migrations and migration
    ]
    if stuck := [key(m) for m in applied if not migration_is_reversible(m)]:
        raise Refused(f"{stuck[0]} cannot be reversed: all of them stay applied.", next=NEXT)
    # Dependents first: each migration has all that it stands on in its own forwards plan.
    applied.sort(key=lambda m: len(loader.graph.forwards_plan((m.app_label, m.name))), reverse=True)
    _take_back(applied, settings, say)
    return [key(migration) for migration in applied]


def _require_order(
    loader: MigrationLoader, todo: list[Migration], phase: Phase, *, first: bool
) -> None:
    for migration in todo:
        if phase == "before" and not first and (blocking := blockers(loader, migration)):
            raise StepFailed(
                f"{key(migration)} is to run before the swap and depends on {blocking[0]}, which "
                "is marked to run after it.",
                next=NEXT,
            )


def _failure(
    migration: Migration,
    error: Exception,
    done: list[Migration],
    phase: Phase,
    settings: OpsSettings,
    say: Say,
) -> StepFailed:
    reason = str(error).strip().splitlines() or [""]
    found = f"{key(migration)} failed ({type(error).__name__}: {reason[0]})"
    if isinstance(error, StepFailed):
        found = error.found.removesuffix(".")
    if not migration.atomic:
        found += "; it is not atomic, so a part of it may be there"
    if not done:
        return StepFailed(f"{found}. Nothing else was applied.", next=NEXT)
    stays = ", ".join(key(m) for m in done)
    if phase == "after":
        return StepFailed(f"{found}. These stay applied: {stays}.", next=NEXT)
    if stuck := [key(m) for m in done if not migration_is_reversible(m)]:
        return StepFailed(
            f"{found}. These stay applied, for {stuck[0]} cannot be reversed: {stays}.", next=NEXT
        )
    try:
        _take_back(done[::-1], settings, say)
    except Exception as second:
        return StepFailed(
            f"{found}. Reversing failed, too ({str(second).splitlines()[0]}): look which of these "
            f"are applied: {stays}.",
            next=NEXT,
        )
    return StepFailed(
        f"{found}. Those before it were reversed: the schema is as it was.", next=NEXT
    )


def _take_back(migrations: list[Migration], settings: OpsSettings, say: Say) -> None:
    for migration in migrations:
        _patiently(migration, settings, say, lambda m=migration: _backwards(m))  # type: ignore[misc]
        say(f"{key(migration)}: reversed")


def _forwards(migration: Migration) -> None:
    _run(migration, backwards=False)


def _backwards(migration: Migration) -> None:
    _run(migration, backwards=True)


def _run(migration: Migration, *, backwards: bool) -> None:
    # A new executor each time: what is applied is read again, and no state is left of a failed try.
    executor = MigrationExecutor(connection)
    node = (migration.app_label, migration.name)
    if (node in executor.loader.applied_migrations) == backwards:
        executor.migrate([node], plan=[(executor.loader.graph.nodes[node], backwards)])


def _patiently(
    migration: Migration, settings: OpsSettings, say: Say, act: Callable[[], None]
) -> None:
    """Try again when a table is in use. While we wait for a lock, the site waits behind us: so each
    wait is short, and between two the site runs."""
    attempts = max(settings.lock_attempts, 1) if migration.atomic else 1
    for attempt in range(1, attempts + 1):
        _set_lock_timeout(0 if _blocks_nobody(migration) else settings.lock_timeout_seconds)
        try:
            return act()
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            say(
                f"{key(migration)}: try {attempt} of {attempts}: a table that it changes is in use "
                f"for longer than {settings.lock_timeout_seconds:g} s"
            )
        if attempt < attempts:
            sleep(min(0.5 * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS))
    raise StepFailed(
        f"{key(migration)} did not get its lock in {attempts} "
        f"tr{'y' if attempts == 1 else 'ies'} of {settings.lock_timeout_seconds:g} s: "
        "something uses the table all the time.",
        next="raise OPS_LOCK_ATTEMPTS, or look for long queries in pg_stat_activity",
    )


def _blocks_nobody(migration: Migration) -> bool:
    """Concurrent operations wait for older transactions as long as these last, and nobody waits for
    them; a timeout would only leave an invalid index."""
    harmless = AddIndexConcurrently | RemoveIndexConcurrently | ValidateConstraint
    found = list(flatten(migration.operations))
    return not migration.atomic and all(isinstance(operation, harmless) for operation in found)


def _set_lock_timeout(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [str(int(seconds * 1000))])
