from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.deploys.context import compose_on
from apps.ops.deploys.lock import deploy_lock
from apps.ops.edge import follow
from apps.ops.errors import OpsError
from apps.ops.management.base import CommandWithExitCodes
from apps.ops.requester import Requester
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine


class Command(CommandWithExitCodes):
    help = (
        "Let Caddy follow the checkout: start what it needs and load its Caddyfile, if another one "
        "is in force. Each deployment does this, too."
    )
    requires_system_checks = []
    exit_codes = (
        "Exit codes:\n  0  Caddy runs what the checkout declares\n  1  it goes on as before, or "
        "did not come back: the output says which\n  2  usage\n  4  a deployment is running\n"
        "  5  .env has a name or a proxy that is none: refused"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--recreate",
            action="store_true",
            help="Create Caddy anew, as the compose files declare it: visitors wait some seconds.",
        )

    def handle(self, *args: Any, recreate: bool, **options: Any) -> None:
        ops = settings.OPS
        engine = Engine(ops.project)
        checkout = Checkout(ops.checkout, remote=ops.remote, branch=ops.branch)
        with tempfile.TemporaryDirectory() as scratch:
            compose = compose_on(None, settings=ops, checkout=checkout, scratch=Path(scratch))
            try:
                if recreate:
                    holder = f"{Requester.now(ops).by} creates Caddy anew"
                    with deploy_lock(ops.state_dir, holder=holder, what="change of Caddy"):
                        away = follow.recreate(ops, engine, compose, say=self.stdout.write)
                    self.stdout.write(f"Caddy was created anew: away for {away:.1f} s at the most.")
                else:
                    done = follow.follow(ops, engine, compose, say=self.stdout.write)
                    self.stdout.write(f"{done}.")
            except OpsError as error:
                self.tell(error, traffic="")
                sys.exit(error.exit_code)
