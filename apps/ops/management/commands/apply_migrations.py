from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection

from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.redact import Redactor
from apps.ops.roles import rights
from apps.ops.schema.apply import apply, reverse
from apps.ops.schema.plan import Phase


class Command(OpsCommand):
    help = (
        "Internal: what a deployment runs in the new release's image to apply its migrations of a "
        "phase, one by one, or to reverse those that it names."
    )
    works_in_development = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "act",
            choices=("before", "after", "reverse"),
            help="before or after the swap: apply what is pending of it. reverse: take back NAMEs.",
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="reverse: app.migration")
        parser.add_argument(
            "--first",
            action="store_true",
            help="No release is live: everything is applied before the swap.",
        )

    def handle(self, *args: Any, act: str, names: list[str], **options: Any) -> None:
        def say(line: str) -> None:
            self.stdout.write(line)
            self.stdout.flush()

        try:
            if act == "reverse":
                if not reverse(names, settings=settings.OPS, say=say):
                    say("nothing to reverse")
            else:
                phase: Phase = "after" if act == "after" else "before"
                apply(phase, settings=settings.OPS, say=say, first=options["first"])
            # Without a migration, too: what the site may do is the release's to say.
            with connection.cursor() as cursor:
                for statement in rights.apply(cursor, settings.POSTGRES_LOGINS):
                    say(statement)
        except OpsError as error:
            Redactor.from_environment().clean_error(error)
            raise CommandError(error.found, returncode=error.exit_code) from error
        except DatabaseError as error:
            reason = (str(error).splitlines() or [""])[0]
            raise CommandError(f"Postgres says: {reason}", returncode=1) from error
