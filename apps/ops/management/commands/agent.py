from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.agent import crontab
from apps.ops.agent.agent import Agent, described, service_of
from apps.ops.management.base import OpsCommand


class Command(OpsCommand):
    help = (
        "What the utility service runs all day: the crontab's ops commands, what is asked for in "
        "the admin, and putting in order what a killed deployment left; in the jobs service, the "
        "other lines of the crontab. SIGTERM finishes what runs. Exit code 0, or with --check 2 "
        "when a line of the crontab is bad."
    )
    works_with_wrong_variables = True
    works_in_development = True  # --check
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Read the crontab, say what is wrong; run nothing."
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        if check:
            self._check(as_json=options["format"] == "json")
        else:
            Agent(settings.OPS, root=settings.BASE_DIR, role=settings.ROLE).run()

    def _check(self, *, as_json: bool) -> None:
        path = crontab.path_of(settings.OPS, settings.BASE_DIR)
        found = crontab.of(settings.OPS, settings.BASE_DIR)
        if as_json:
            self.stdout.json(described(found), indent=2)
        else:
            for job in found.jobs:
                for line in job.lines:
                    self.stdout.write(
                        f"{line.fields:<15}  {line.command}   "
                        f"({service_of(job)}, {line.zone}, deadline {line.seconds:g} s)"
                    )
            for problem in found.problems:
                self.stderr.write(f"{path}, {problem}")
        if found.problems:
            self.stderr.write("The agent runs the other lines. Traffic is as it was.")
            self.stderr.write("Next: fix these lines, then: manage.py agent --check")
            sys.exit(2)
