from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db.models import QuerySet

from apps.ops import postgres
from apps.ops.deploys.journal import DIRECTORY
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.models import Deployment
from apps.ops.presenters.history import list_as_json, one_as_json, print_list, print_one
from apps.ops.presenters.styled import screen

MOST = 10_000


class Command(OpsCommand):
    help = (
        "The last deployments, or one with its steps, commits, warnings, migrations and what was "
        "measured. Exit code 0, or 1 when there is no such deployment or Postgres does not answer."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="This one.")
        parser.add_argument("--limit", type=int, default=20, help="How many. Default: 20.")
        parser.add_argument("--kind", choices=Deployment.Kind.values)
        parser.add_argument("--status", choices=Deployment.Status.values)
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, number: int | None, **options: Any) -> None:
        journal = settings.OPS.state_dir / DIRECTORY
        try:
            with postgres.answering(without=f"The journal in {journal} has the last deployments."):
                if number is None:
                    self._show_list(options)
                else:
                    self._show_one(number, options)
        except OpsError as error:
            self.tell(error, traffic="")
            sys.exit(error.exit_code)

    def _show_list(self, options: dict[str, Any]) -> None:
        chosen = {name: options[name] for name in ("kind", "status") if options[name]}
        rows = list(_rows().filter(**chosen)[: min(max(options["limit"], 0), MOST)])
        if options["format"] == "json":
            self.stdout.json(list_as_json(rows), indent=2)
        else:
            print_list(rows, screen(options))

    def _show_one(self, number: int, options: dict[str, Any]) -> None:
        row = _rows().filter(pk=number).first()
        if row is None:
            raise OpsError(f"There is no deployment #{number}.", next="manage.py history")
        steps = list(row.steps.order_by("position", "id"))
        if options["format"] == "json":
            self.stdout.json(one_as_json(row, steps), indent=2)
        else:
            print_one(row, steps, screen(options))


def _rows() -> QuerySet[Deployment]:
    return Deployment.objects.select_related("release", "previous_release").order_by("-id")
