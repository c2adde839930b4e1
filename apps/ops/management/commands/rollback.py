from __future__ import annotations

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.deploys.context import Options
from apps.ops.deploys.operations import rollback
from apps.ops.management.base import CommandWithExitCodes
from apps.ops.presenters.chosen import add_format, presenter

EXIT_CODES = """\
exit codes:
  0    the older release is live
  1    failed; traffic never moved
  2    usage
  3    failed after the swap and moved back by itself
  4    another deployment holds the lock
  5    refused: no such release, no stable one, its code does not run on today's schema, or
       this is another checkout
  6    live, with warnings
  130  cancelled before the swap; undone
"""


class Command(CommandWithExitCodes):
    exit_codes = EXIT_CODES
    help = (
        "Go back to a release whose image was kept: without RELEASE, to the newest stable one that "
        "is not live. To a warm standby it is one swap. Works with Postgres down."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "release", nargs="?", metavar="RELEASE", help="The first characters of a commit."
        )
        parser.add_argument(
            "--allow-incompatible",
            action="store_true",
            help="Go back although its code does not run on today's schema.",
        )
        parser.add_argument(
            "--maintenance",
            action="store_true",
            help="Behind the maintenance page, and reverse the migrations that it cannot run with.",
        )
        parser.add_argument(
            "--adopt-checkout",
            action="store_true",
            help="Let this checkout take the place of the one that the site was deployed from.",
        )
        parser.add_argument("--request", metavar="UID", help=argparse.SUPPRESS)  # The agent's.
        add_format(parser)

    def handle(self, *args: Any, release: str | None, **options: Any) -> None:
        outcome = rollback(
            release,
            settings=settings.OPS,
            presenter=presenter(options, kind="rollback"),
            options=Options(
                maintenance=options["maintenance"],
                allow_incompatible=options["allow_incompatible"],
                adopt_checkout=options["adopt_checkout"],
            ),
            request=options["request"],
        )
        sys.exit(outcome.exit_code)
