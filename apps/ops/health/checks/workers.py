"""The workers: do tasks come back, how many wait, how many fail?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from django.conf import settings as django

from apps.ops.canary import FIRST
from apps.ops.conf import OpsSettings
from apps.ops.health.checks import sql
from apps.ops.health.result import Figure, Result, bad, good, unknown

LOGS = "docker compose logs --tail 50 django-q"
# One failed task of two is no sign of anything.
FEWEST_FAILED = 3
# A row's lock is when it was last handed out; a new one's is long enough ago to be due at once.
_QUEUE = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(lock))::float - %(retry)s, 0)
FROM django_q_ormq
WHERE lock < now() - %(retry)s * interval '1 second' AND lock > %(canary)s
"""
_ENDED = """
SELECT count(*), count(*) FILTER (WHERE NOT success)
FROM django_q_task
WHERE stopped > now() - interval '1 hour'
"""


def look(settings: OpsSettings) -> Result:
    came_back = _canary(settings)
    age = (datetime.now(UTC) - came_back).total_seconds() if came_back else None
    figures: dict[str, Figure] = {}
    if age is not None:
        figures["canary_seconds"] = round(max(age, 0))
        if age > settings.health_canary_seconds:
            return bad(
                f"The last canary came back from the workers {age / 60:.0f} minutes ago: tasks may "
                "be waiting.",
                next=f"manage.py canary   # asks now; then: {LOGS}",
                **figures,
            )
    retry = django.Q_CLUSTER.get("retry", 60)
    try:
        with sql.asking() as postgres:
            queue = postgres.execute(_QUEUE, {"retry": retry, "canary": FIRST}).fetchone()
            recent = postgres.execute(_ENDED).fetchone()
    except sql.Away as away:
        return unknown(f"Postgres keeps the queue and does not tell. {away}.", next=away.next)
    assert queue is not None
    assert recent is not None
    waiting, wait = queue
    ended, failed = recent
    percent = 100 * failed / ended if ended else 0.0
    figures |= {
        "waiting": waiting,
        "oldest_seconds": round(wait),
        "ended_last_hour": ended,
        "failed_percent": round(percent, 1),
    }
    if waiting and wait >= settings.health_queue_seconds:
        return bad(
            f"A task has been waiting for {wait:.0f} s, and {waiting} are queued.",
            next=LOGS,
            **figures,
        )
    if waiting >= settings.health_queue_tasks:
        return bad(f"{waiting} tasks are queued.", next=LOGS, **figures)
    if failed >= FEWEST_FAILED and percent >= settings.health_failed_percent:
        return bad(
            f"{failed} of the last hour's {ended} tasks failed.",
            next="/admin/django_q/failure/   # says why",
            **figures,
        )
    if age is None:
        return unknown(
            "No canary has come back from the workers yet.", next="manage.py canary   # sends one"
        )
    return good(
        f"The last canary came back {max(age, 0):.0f} s ago; {waiting} tasks wait, {failed} of "
        f"the last hour's {ended} failed.",
        **figures,
    )


def _canary(settings: OpsSettings) -> datetime | None:
    """When the last one came back; None when none did, or nobody can read when."""
    try:
        record = json.loads((settings.state_dir / "agent" / "canary").read_text())
        return datetime.fromisoformat(record["at"]).astimezone(UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
