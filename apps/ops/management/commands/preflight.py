from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import CommandParser

from apps.ops.management.base import OpsCommand
from apps.ops.schema.plan import report


class Command(OpsCommand):
    help = (
        "What a deployment asks of a new release in its own image before anything is touched: "
        "Django's deployment checks, and what its migrations would do to the live database. Prints "
        "one line of JSON."
    )
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
            "warnings": [str(m) for m in found if m.level >= checks.WARNING and not m.is_serious()],
            **report(large=settings.OPS.large_table_rows, first=first).as_dict(),
        }
        self.stdout.json(answer)
