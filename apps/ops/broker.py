"""The queue in the database, in the order in which tasks came."""

from __future__ import annotations

from django.db.models import QuerySet
from django_q.brokers.orm import ORM
from django_q.models import OrmQ


class FirstInFirstOut(ORM):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's own broker takes tasks in whatever order Postgres finds them.

    Here the one that has been due for longest is first, so that a canary can go before a backlog.
    """

    @staticmethod
    def get_connection(list_key: str | None = None) -> QuerySet[OrmQ]:
        tasks: QuerySet[OrmQ] = ORM.get_connection(list_key)
        return tasks.order_by("lock", "id")
