from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops import postgres
from apps.ops.errors import OpsError
from apps.ops.health import history, registry, state
from apps.ops.management.base import OpsCommand
from apps.ops.presenters.health import history_as_json, print_histories, print_history
from apps.ops.presenters.styled import screen

MAX_DAYS = 36500.0


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= MAX_DAYS:
        raise ArgumentTypeError(f"{text!r} is no number of days.")
    return days


class Command(OpsCommand):
    help = (
        "The uptime of every check, or one check's uptime and flips, the newest first. With "
        "Postgres down it shows what is known without it. Exit code 0, 1 when Postgres does not "
        "answer, 2 for a check that does not exist."
    )
    works_in_development = True
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="This check, with its flips.")
        parser.add_argument(
            "--days", type=_days, default=30.0, metavar="N", help="How far back. Default: 30."
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, name: str | None, **options: Any) -> None:
        days, now = options["days"], datetime.now(UTC)
        away: OpsError | None = None
        try:
            with postgres.answering(without="This is what is known without it."):
                found = history.from_postgres(days=days, now=now)
        except OpsError as error:
            away = error
            found = history.from_state(state.load(settings.OPS.state_dir), days=days, now=now)
        if name is not None:
            try:
                registry.require_known([name], [h.name for h in found])
            except registry.NoSuchCheck as error:
                raise CommandError(str(error), returncode=2) from None
            found = [h for h in found if h.name == name]
        if options["format"] == "json":
            checks = [history_as_json(h, with_flips=name is not None) for h in found]
            report = {"postgres": away is None, "days": days, "checks": checks}
            self.stdout.json(report, indent=2)
        else:
            self._print(found, name, options)
        if away:
            self.tell(away, traffic="")
            sys.exit(away.exit_code)

    def _print(
        self, found: list[history.CheckHistory], name: str | None, options: dict[str, Any]
    ) -> None:
        console = screen(options)
        if name is None:
            print_histories(found, console)
        else:
            print_history(found[0], console)
