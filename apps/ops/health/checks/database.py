"""Postgres: does it let us in, is there room for both colours, does somebody hold a transaction?"""

from __future__ import annotations

from apps.ops.checks.state import OTHER_CONNECTIONS
from apps.ops.conf import OpsSettings
from apps.ops.health.checks import sql
from apps.ops.health.result import Figure, Result, bad, good

_QUESTION = """
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') - 1,
    current_setting('max_connections')::int,
    pg_database_size(current_database()),
    current_setting('server_version')
"""
# A dump is one long transaction and has to be.
_OLDEST = """
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float
FROM pg_stat_activity
WHERE xact_start IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND query !~* '^copy .* to stdout;?$'
ORDER BY xact_start
LIMIT 1
"""
_HOLDERS = "SELECT application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2"


def look(settings: OpsSettings) -> Result:
    try:
        with sql.asking() as postgres:
            row = postgres.execute(_QUESTION).fetchone()
            oldest = postgres.execute(_OLDEST).fetchone()
    except sql.Away as away:
        return bad(f"{away}.", next=away.next)
    assert row is not None
    used, most, size, version = row
    pid, who, seconds = oldest or (0, "", 0.0)
    wanted = (
        2 * settings.web_workers * settings.web_threads
        + settings.worker_processes
        + OTHER_CONNECTIONS
    )
    figures: dict[str, Figure] = {
        "version": version,
        "connections": used,
        "max_connections": most,
        "both_colors_want": wanted,
        "oldest_transaction_seconds": round(seconds, 1),
        "size_mb": round(size / 1e6, 1),
    }
    if used >= most * settings.health_connections_percent / 100:
        return bad(
            f"{used} of {most} connections are used.",
            next=f"{_psql(_HOLDERS)}   # who holds them; or raise POSTGRES_MAX_CONNECTIONS",
            **figures,
        )
    if seconds >= settings.health_transaction_seconds:
        return bad(
            f"A transaction of {who or 'somebody'} (process {pid}) is open for {seconds:.0f} s: "
            "migrations wait for it, and nothing is vacuumed.",
            next=_psql(f"SELECT pg_terminate_backend({pid})") + "   # ends it",
            **figures,
        )
    if wanted > most:
        return bad(
            f"Postgres allows {most} connections, and in a deployment both colours, the worker and "
            f"the tools can want {wanted}: visitors would get errors.",
            next=f"set POSTGRES_MAX_CONNECTIONS to {wanted} or more, then: "
            "docker compose up --detach --no-deps postgres",
            **figures,
        )
    return good(
        f"Postgres {version} answers: {used} of {most} connections, {size / 1e6:.0f} MB.",
        **figures,
    )


def _psql(question: str) -> str:
    return f'manage.py dbshell -- -c "{question}"'
