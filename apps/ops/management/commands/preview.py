from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.colors import Color
from apps.ops.edge.files import PREVIEW_SECONDS, Edge
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.stack.engine import Engine


class Command(OpsCommand):
    help = (
        "Print an address that shows one colour, live or not, to whoever has it, for an hour: to "
        "look at the standby, or at the site behind its maintenance page."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("color", choices=[str(color) for color in Color])

    def handle(self, *args: Any, color: str, **options: Any) -> None:
        chosen = Color(color)
        try:
            service = Engine(settings.OPS.project).service(chosen.service)
            if service is None or not service.running:
                raise OpsError(
                    f"{color} does not run, so there is nothing to look at.",
                    next="manage.py status   # what runs",
                )
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        token = Edge(settings.OPS.edge_dir).issue_preview(chosen)
        site = f"{settings.SITE_SCHEME}://{settings.SITE_HOST}"
        own = f"{settings.SITE_SCHEME}://{color}.{settings.SITE_HOST}"
        self.stdout.write(f"{site}/?ops-preview={token}")
        self.stdout.write(f"{own}/?ops-preview={token}   # where DNS has that name")
        self.stdout.write(f"Good for {PREVIEW_SECONDS / 60:g} minutes.")
