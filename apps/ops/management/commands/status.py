from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.management.base import OpsCommand
from apps.ops.presenters.status import print_status, status_as_json
from apps.ops.presenters.styled import screen
from apps.ops.status import read_status

MOST = 10_000


class Command(OpsCommand):
    help = (
        "Who gets the traffic, what each colour and the worker run and since when, their health, "
        "a deployment in progress, and the last deployments. Works with Postgres down. "
        "Exit code 0, or 1 when something is wrong."
    )
    works_with_wrong_variables = True
    tells_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument(
            "--limit", type=int, default=5, help="How many deployments to show. Default: 5."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        status = read_status(settings.OPS, limit=min(max(options["limit"], 0), MOST))
        if options["format"] == "json":
            self.stdout.json(status_as_json(status), indent=2)
        else:
            print_status(status, screen(options))
        sys.exit(1 if status.problems else 0)
