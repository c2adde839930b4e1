from __future__ import annotations

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.ops.deploys import preview
from apps.ops.deploys.events import Listener
from apps.ops.deploys.runner import deploy
from apps.ops.errors import OpsError
from apps.ops.presenters.console import Terminal
from apps.ops.presenters.jsonl import JsonLines
from apps.ops.presenters.lines import Lines
from apps.ops.redact import Redactor

EXIT_CODES = """\
exit codes:
  0    live
  1    failed; traffic never moved
  2    usage
  3    failed after the swap and rolled back by itself
  4    another deployment holds the lock
  5    refused by a gate: unknown ref, dirty checkout, missing variable, failed check, no room
  6    live, with warnings
  130  cancelled before the swap; undone
"""


class Command(BaseCommand):
    help = (
        "Deploy a commit of the remote without losing a request: fetch it, build its image, prove "
        "it in the idle colour, move the traffic, retire the old colour. Before the swap a failure "
        "leaves traffic as it was."
    )
    # Settings that would bite are checked in the new release's own image (preflight).
    requires_system_checks = []

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(*args, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = EXIT_CODES
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "ref",
            nargs="?",
            metavar="REF",
            help=f"A branch, tag or SHA of the remote. Default: {settings.OPS.branch}.",
        )
        parser.add_argument(
            "--plan",
            action="store_true",
            help="Print what would happen (commits, migrations, colour, steps); change nothing.",
        )
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json: one object a line, one line an event. Default: text, live on a terminal.",
        )

    def handle(self, *args: Any, ref: str | None, plan: bool, **options: Any) -> None:
        if plan:
            self._print_plan(ref, as_json=options["format"] == "json")
            return
        outcome = deploy(ref, settings=settings.OPS, presenter=self._presenter(options))
        sys.exit(outcome.exit_code)

    def _presenter(self, options: dict[str, Any]) -> Listener:
        if options["format"] == "json":
            return JsonLines(sys.stdout)
        live = sys.stdout.isatty() or options["force_color"]
        if live and options["verbosity"] == 1:
            return Terminal(sys.stdout, color=not options["no_color"])
        return Lines(sys.stdout, verbosity=options["verbosity"])

    def _print_plan(self, ref: str | None, *, as_json: bool) -> None:
        try:
            text = preview.describe(ref, settings=settings.OPS, as_json=as_json)
        except OpsError as error:
            Redactor.from_environment().clean_error(error)
            if error.output:
                self.stderr.write(error.output)
            self.stderr.write(f"{error.found}\nNothing was changed; traffic is as it was.")
            if error.next:
                self.stderr.write(f"Next: {error.next}")
            sys.exit(error.exit_code)
        self.stdout.write(text)
