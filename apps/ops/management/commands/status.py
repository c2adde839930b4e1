from __future__ import annotations

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console

from apps.ops.presenters.status import print_status, status_as_json
from apps.ops.status import read_status

PIPE_WIDTH = 160
MOST = 10_000


class Command(BaseCommand):
    help = (
        "Who gets the traffic, what each colour and the worker run and since when, their health, "
        "a deployment in progress, and the last deployments. Works with Postgres down. "
        "Exit code 0, or 1 when something is wrong."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument(
            "--limit", type=int, default=5, help="How many deployments to show. Default: 5."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        status = read_status(settings.OPS, limit=min(max(options["limit"], 0), MOST))
        if options["format"] == "json":
            self.stdout.write(json.dumps(status_as_json(status), indent=2))
        else:
            terminal = sys.stdout.isatty()
            console = Console(
                no_color=options["no_color"],
                force_terminal=options["force_color"] or None,
                width=None if terminal else PIPE_WIDTH,
                highlight=False,
            )
            print_status(status, console)
        sys.exit(1 if status.problems else 0)
