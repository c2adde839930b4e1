"""django-q2's options that lose tasks or run them twice."""

from __future__ import annotations

from collections.abc import Iterator
from os import cpu_count
from typing import Any

from django.conf import settings
from django.core import checks

# Any of these is asked before Redis: django_q.brokers.get_broker.
BROKERS = ("broker_class", "iron_mq", "sqs", "orm", "mongo")


def queue(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    q: dict[str, Any] = settings.Q_CLUSTER
    if not any(q.get(broker) for broker in BROKERS):
        yield checks.Error(
            'Q_CLUSTER has no "orm": tasks would be queued in Redis, which is a cache here and '
            "forgets.",
            hint='Set "orm": "default", so that the database keeps them.',
            id="ops.E010",
        )
    processes = q.get("workers") or cpu_count() or 4
    limit = q.get("queue_limit", processes**2)
    if not 0 < limit <= processes:
        yield checks.Error(
            f'Q_CLUSTER["queue_limit"] is {limit or "0 (endless)"} for {processes} worker '
            "processes: tasks would wait in memory until they are handed out again, or the "
            "worker is killed.",
            hint=f'Set "queue_limit" to {processes} or less.',
            id="ops.E011",
        )
    if not q.get("max_attempts"):
        yield checks.Error(
            'Q_CLUSTER["max_attempts"] is not set: a task that kills its worker would be tried '
            "for ever.",
            hint='Set "max_attempts": 5.',
            id="ops.E012",
        )
    if not q.get("ack_failures"):
        yield checks.Error(
            'Q_CLUSTER["ack_failures"] is off: a task that failed would run again and again.',
            hint='Set "ack_failures": True. Failed tasks are kept, and run again when you say so.',
            id="ops.E013",
        )

    if q.get("orm") and not any(q.get(b) for b in BROKERS if b != "orm"):
        yield checks.Error(
            'Q_CLUSTER has no "broker_class": tasks are taken in no order, and the canary of a '
            "deployment would wait behind all that are queued.",
            hint='Set "broker_class": "apps.ops.broker.FirstInFirstOut".',
            id="ops.E015",
        )


def sync(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    if settings.Q_CLUSTER.get("sync"):
        yield checks.Error(
            'Q_CLUSTER["sync"] is on: tasks would run inside the request that asks for them, and '
            "be lost with it.",
            hint='Take "sync" out; it is for tests.',
            id="ops.E014",
        )
