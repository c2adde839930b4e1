from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser, OutputWrapper
from django.utils import timezone

from apps.ops import freezes, postgres
from apps.ops.deploys import history
from apps.ops.errors import OpsError, Refused
from apps.ops.management.base import OpsCommand
from apps.ops.requester import Requester


class Command(OpsCommand):
    help = (
        "Refuse deployments from now on (exit code 4), naming who wants that, why and until when. "
        "Works with Postgres down. Exit code 0, 1 when the state volume cannot be written, 5 when "
        "it is refused: frozen already, no reason, a time that is past or none."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("reason", metavar="REASON", help="What the others will read.")
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--until",
            metavar="TIME",
            help=f'"2026-12-27 08:00", in {settings.TIME_ZONE}. Default: until `unfreeze`.',
        )
        end.add_argument("--hours", type=float, metavar="N", help="For so many hours.")
        end.add_argument("--days", type=float, metavar="N", help="For so many days.")

    def handle(self, *args: Any, reason: str, **options: Any) -> None:
        try:
            until = _end(options["until"], options["hours"], options["days"])
            made = freezes.freeze(
                reason,
                by=Requester.now(settings.OPS).by,
                until=until,
                state_dir=settings.OPS.state_dir,
            )
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        self.stdout.write(f"Deployments are frozen by {made.describe()}.")
        publish(self.stdout)
        self.stdout.write("A deployment that runs already goes on. Lift it: manage.py unfreeze")


def publish(stdout: OutputWrapper) -> None:
    """Let the admin see it now; else the agent does when Postgres answers."""
    try:
        with postgres.answering(without="The admin shows it when it answers again."):
            history.prepare()
            freezes.publish(settings.OPS.state_dir)
    except OpsError as error:
        stdout.write(f"{error.found} Next: {error.next}")


def _end(until: str | None, hours: float | None, days: float | None) -> datetime | None:
    if until is not None:
        return freezes.read_end(until)
    if hours is None and days is None:
        return None
    try:
        return timezone.now() + timedelta(hours=hours or 0, days=days or 0)
    except (ValueError, OverflowError):
        raise Refused(
            f"{days if hours is None else hours} is no length of time.", next="give --hours 12"
        ) from None
