from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops import updates
from apps.ops.errors import OpsError
from apps.ops.health.checks.images import remedy
from apps.ops.management.base import CommandWithExitCodes

SECONDS = 120.0
EXIT_CODES = """\
exit codes:
  0    asked; with --exit-zero, whatever was found
  1    an image lacks security updates
  3    of an image it is not known
"""


class Command(CommandWithExitCodes):
    exit_codes = EXIT_CODES
    help = (
        "Ask Debian's archive and the registry whether the images that run lack security updates. "
        "The health check `images` says until tomorrow what was found."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exit-zero", action="store_true", help="For cron: what was found is no failure."
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = updates.look(settings.OPS, seconds=SECONDS)
            updates.keep(found, settings.OPS.state_dir)
        except (OpsError, OSError) as error:
            failure = error if isinstance(error, OpsError) else OpsError(f"{error}", next="df -h")
            self.tell(failure)
            sys.exit(failure.exit_code)
        if options["format"] == "json":
            self.stdout.json([asdict(image) for image in found], indent=2)
        else:
            for image in found:
                self._print(image)
        lacking = any(image.security for image in found)
        unknown = any(image.security is None for image in found)
        if not options["exit_zero"]:
            sys.exit(1 if lacking else 3 if unknown else 0)

    def _print(self, image: updates.Found) -> None:
        known = image.security is not None
        count = len(image.security or ())
        said = f"{count or 'no'} security update{'' if count == 1 else 's'}" if known else "unknown"
        if image.newer:
            said += ", and the registry has a newer image"
        self.stdout.write(f"{image.service}: {said}")
        for line in (*(image.security or ()), *image.why):
            self.stdout.write(f"  {line}")
        if count or image.newer:
            self.stdout.write(f"  Next: {remedy(image.service)}")
