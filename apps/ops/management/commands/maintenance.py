from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from apps.ops.deploys import lock
from apps.ops.edge.files import Edge, Maintenance
from apps.ops.errors import OpsError, Refused
from apps.ops.management.base import OpsCommand
from apps.ops.requester import Requester

VISITORS = "Visitors get status 503 with Retry-After. To see behind it: manage.py preview COLOR"


class Command(OpsCommand):
    help = (
        "Put the maintenance page up or take it down; without an argument, say which. Works with "
        "Postgres and Docker down. Exit code 0, 1 when the edge cannot be written, 5 when a "
        "running deployment needs the page."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("to", nargs="?", choices=("on", "off"), metavar="on|off")
        parser.add_argument("--reason", default="", help="With on: why, for the others to read.")

    def handle(self, *args: Any, to: str | None, reason: str, **options: Any) -> None:
        if reason and to != "on":
            raise CommandError("--reason goes with `maintenance on`.", returncode=2)
        edge = Edge(settings.OPS.edge_dir)
        try:
            if to == "on":
                self._on(edge, " ".join(reason.split()))
            elif to == "off":
                self._off(edge)
            else:
                page = edge.maintenance()
                self._describe(page)
        except OSError as error:
            self._fail(
                OpsError(
                    f"The edge cannot be read or written: {error}.",
                    next="df -h   # then: docker compose run --rm utility "
                    f"{'rm' if to == 'off' else 'touch'} {settings.OPS.edge_dir}/maintenance",
                )
            )
        except OpsError as error:
            self._fail(error)

    def _on(self, edge: Edge, reason: str) -> None:
        edge.maintenance_on(by=Requester.now(settings.OPS).by, reason=reason)
        page = edge.maintenance()
        self._describe(page)
        if deploying := lock.holder(settings.OPS.state_dir):
            self.stdout.write(
                f"A deployment runs ({deploying}): it goes on behind the page, cannot prove itself "
                "at the front door meanwhile, and leaves the page up."
            )

    def _off(self, edge: Edge) -> None:
        page = edge.maintenance()
        if page is None:
            self.stdout.write("The maintenance page was not up.")
            return
        holding = lock.held_by(settings.OPS.state_dir)
        if page.deployment and holding and holding.uid == page.deployment:
            raise Refused(
                f"A deployment that runs needs the page, and takes it down: {holding.holder}.",
                next="manage.py cancel   # or wait for its end",
            )
        edge.maintenance_off()
        self.stdout.write(f"The maintenance page is down; {edge.live()} answers visitors.")

    def _fail(self, error: OpsError) -> None:
        self.tell(error)
        sys.exit(error.exit_code)

    def _describe(self, page: Maintenance | None) -> None:
        if page is None:
            self.stdout.write("The maintenance page is down.")
            return
        since = f"{timezone.localtime(page.since):%Y-%m-%d %H:%M:%S %Z}"
        why = f": {page.reason}" if page.reason else ""
        who = page.by or "somebody by hand"
        self.stdout.write(f"The maintenance page is up, put up by {who}, since {since}{why}.")
        self.stdout.write(VISITORS)
