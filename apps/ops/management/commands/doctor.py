from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.doctor import examine
from apps.ops.management.base import OpsCommand
from apps.ops.presenters.doctor import diagnosis_as_json, print_diagnosis
from apps.ops.presenters.styled import screen


class Command(OpsCommand):
    help = (
        "What is wrong, and what to type: Docker, supervisor, the services and what the logs of "
        "the failing ones say, who is live and answers, a stuck deployment, a full disk. Works "
        "with any of them down, and takes 5 s at the most. Exit code 0 all is well, 1 something "
        "is wrong, 3 something could not be looked at."
    )
    works_with_wrong_variables = True
    tells_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        diagnosis = examine(settings.OPS)
        if options["format"] == "json":
            self.stdout.json(diagnosis_as_json(diagnosis), indent=2)
        else:
            print_diagnosis(diagnosis, screen(options, width=None, soft_wrap=True))
        sys.exit(diagnosis.exit_code)
