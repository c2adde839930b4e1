from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import CommandParser
from django.db import connection

from apps.ops.agent import crontab
from apps.ops.management.base import OpsCommand
from apps.ops.models import Canary
from apps.ops.roles import rights
from apps.ops.schema.plan import report


class Command(OpsCommand):
    help = (
        "What a deployment asks of a new release in its own image before anything is touched: "
        "Django's deployment checks, and what its migrations would do to the live database. Prints "
        "one line of JSON."
    )
    works_in_development = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--first",
            action="store_true",
            help="No release is live: everything is applied before the swap.",
        )

    def handle(self, *args: Any, first: bool, **options: Any) -> None:
        found = checks.run_checks(include_deployment_checks=True, databases=["default"])
        answer = {
            "errors": [str(message) for message in found if message.is_serious()],
            "warnings": [
                *(str(m) for m in found if m.level >= checks.WARNING and not m.is_serious()),
                *(() if first else _moving_jobs()),
            ],
            **report(large=settings.OPS.large_table_rows, first=first).as_dict(),
            "rights": _rights(),
        }
        self.stdout.json(answer)


def _rights() -> list[str]:
    with connection.cursor() as cursor:
        return rights.missing(cursor, settings.POSTGRES_LOGINS)


def _moving_jobs() -> list[str]:
    """Said by the first release that runs the site's jobs in a service of their own; it came with
    the canaries' table."""
    if Canary._meta.db_table in connection.introspection.table_names():  # noqa: SLF001
        return []
    jobs = crontab.of(settings.OPS, settings.BASE_DIR).jobs
    return [
        f'"{job.command}" moves from the utility service to jobs: no root, no Docker socket, no '
        "checkout, and of files only /tmp, /srv/media and /var/lib/jobs can be written"
        for job in jobs
        if not job.is_own
    ]
