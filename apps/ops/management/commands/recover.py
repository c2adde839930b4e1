from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.deploys import recovery
from apps.ops.deploys.lock import holder
from apps.ops.deploys.operations import recover
from apps.ops.errors import Busy, OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.presenters.lines import Lines


class Command(OpsCommand):
    help = (
        "Put in order what a killed deployment or rollback left behind: undo it when it had not "
        "moved the traffic, finish it when it had, and bring the history up to date from the "
        "journal. Every deploy and rollback begins with the same. Exit code 0 when nothing is left."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--plan", action="store_true", help="Say what was left; change nothing."
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, plan: bool, **options: Any) -> None:
        as_json = options["format"] == "json"
        try:
            if runs := holder(settings.OPS.state_dir):
                raise Busy(f"A deployment is running: {runs}.", next="manage.py status")
            left = recovery.left_behind(settings.OPS)
            said = [recovery.describe(story, settings.OPS) for story in left]
            if not as_json:
                for line in said or ["Nothing was left behind."]:
                    self.stdout.write(line)
            if not plan:
                out = self.stderr if as_json else self.stdout
                done = recover(settings=settings.OPS, presenter=Lines(out, verbosity=1))
            else:
                done = []
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        if as_json:
            report = [
                {"deployment": s.uid, "status": o.status, "warnings": list(o.warnings)}
                for s, o in done
            ]
            self.stdout.json({"left": said, "recovered": report}, indent=2)
