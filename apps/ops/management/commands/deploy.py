from __future__ import annotations

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.deploys import preview
from apps.ops.deploys.context import Options
from apps.ops.deploys.operations import deploy
from apps.ops.errors import OpsError
from apps.ops.management.base import CommandWithExitCodes
from apps.ops.presenters.chosen import add_format, presenter

EXIT_CODES = """\
exit codes:
  0    live
  1    failed; traffic never moved
  2    usage
  3    failed after the swap and rolled back by itself
  4    another deployment holds the lock, or deployments are frozen
  5    refused by a gate: unknown ref, dirty or another checkout, missing variable, failed check,
       no room, a migration that breaks the live release
  6    live, with warnings
  130  cancelled before the swap; undone
"""


class Command(CommandWithExitCodes):
    exit_codes = EXIT_CODES
    help = (
        "Deploy a commit of the remote without losing a request: fetch it, build its image, prove "
        "it in the idle colour, move the traffic, retire the old colour. Before the swap a failure "
        "leaves traffic as it was."
    )
    # Settings that would bite are checked in the new release's own image (preflight).
    works_with_wrong_variables = True
    tells_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "ref",
            nargs="?",
            metavar="REF",
            help="A branch, tag or SHA of the remote; refs/heads/X or refs/tags/X when both are "
            f"called X. Default: {settings.OPS.branch}.",
        )
        parser.add_argument(
            "--plan",
            action="store_true",
            help="Print what would happen (commits, migrations, colour, steps); change nothing.",
        )
        parser.add_argument(
            "--no-bake",
            action="store_true",
            help="Do not watch the new release after the swap, and do not move back by itself.",
        )
        parser.add_argument(
            "--maintenance",
            action="store_true",
            help="Put the maintenance page up while migrations run that break the live release.",
        )
        parser.add_argument(
            "--allow-contract",
            action="store_true",
            help="Apply migrations that break the live release, before the swap: requests fail.",
        )
        parser.add_argument(
            "--override", action="store_true", help="Deploy although deployments are frozen."
        )
        parser.add_argument(
            "--refresh",
            action="store_true",
            help="Build anew on the newest base images and packages, also what was built before, "
            "and say which packages changed.",
        )
        parser.add_argument(
            "--adopt-checkout",
            action="store_true",
            help="Let this checkout take the place of the one that the site was deployed from.",
        )
        parser.add_argument("--request", metavar="UID", help=argparse.SUPPRESS)  # The agent's.
        add_format(parser)

    def handle(self, *args: Any, ref: str | None, plan: bool, **options: Any) -> None:
        chosen = Options(
            bake=not options["no_bake"],
            maintenance=options["maintenance"],
            allow_contract=options["allow_contract"],
            override=options["override"],
            refresh=options["refresh"],
            adopt_checkout=options["adopt_checkout"],
        )
        if plan:
            self._print_plan(ref, chosen, as_json=options["format"] == "json")
            return
        outcome = deploy(
            ref,
            settings=settings.OPS,
            presenter=presenter(options, kind="deploy"),
            options=chosen,
            request=options["request"],
        )
        sys.exit(outcome.exit_code)

    def _print_plan(self, ref: str | None, options: Options, *, as_json: bool) -> None:
        try:
            found = preview.describe(ref, settings=settings.OPS, options=options, as_json=as_json)
        except OpsError as error:
            self.tell(error, traffic="Nothing was changed; traffic is as it was.")
            sys.exit(error.exit_code)
        if isinstance(found, dict):
            self.stdout.json(found, indent=2)
            return
        for line in found:
            self.stdout.write(line)
