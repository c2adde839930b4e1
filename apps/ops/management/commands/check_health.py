from __future__ import annotations

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops.health import registry, rounds
from apps.ops.health.runner import Finding, exit_code, run
from apps.ops.management.base import OpsCommand
from apps.ops.presenters.health import finding_lines, findings_as_json, print_findings
from apps.ops.presenters.styled import screen

# How long, beyond the checks' deadline, Postgres may take to write down what was found.
POSTGRES_SECONDS = 0.4


class Command(OpsCommand):
    help = (
        "Look at everything, or at the checks that are named, side by side, each with its deadline "
        "(OPS_HEALTH_SECONDS). What changed is recorded, and told when it lasts. Works with "
        "Postgres down. Exit code 0, 1 when something is bad, 2 for a check that does not exist, "
        "3 when something could not be measured."
    )
    works_in_development = True
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Only these checks.")
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument(
            "--exit-zero",
            action="store_true",
            help="Exit code 0 whatever was found: for cron, whose job did not fail then.",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except SystemExit as ended:
            if not isinstance(ended.code, int):
                raise
            # A check that hangs has threads that Python would wait for at its end.
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(ended.code)

    def handle(self, *args: Any, names: list[str], **options: Any) -> None:
        try:
            checks = registry.choose(names, settings.OPS)
        except registry.NoSuchCheck as error:
            raise CommandError(str(error), returncode=2) from None
        until = monotonic() + settings.OPS.health_seconds + POSTGRES_SECONDS
        findings = run(checks, settings.OPS)
        warnings, remembered = [], True
        try:
            rounds.remember(findings, settings.OPS, whole=not names)
        except OSError as error:
            remembered = False
            warnings.append(
                f"What was found cannot be remembered: {error}. What is bad is told in every "
                "round. Next: df -h   # is the disk full, or the state volume gone or read-only?"
            )
        # Before anybody is told: that may take a while.
        with suppress(BrokenPipeError):
            self._show(findings, options)
            self.stdout.flush()
        warnings += rounds.pass_on(
            settings.OPS, until=until, findings=findings, whole=not names, remembered=remembered
        )
        for warning in warnings:
            self.stderr.write(f"Warning: {warning}")
        sys.exit(0 if options["exit_zero"] else exit_code(findings))

    def _show(self, findings: list[Finding], options: dict[str, Any]) -> None:
        if options["format"] == "json":
            self.stdout.json(findings_as_json(findings, exit_code(findings)), indent=2)
        elif sys.stdout.isatty() or options["force_color"]:
            print_findings(findings, screen(options, width=None))
        else:
            for line in finding_lines(findings):
                self.stdout.write(line)
