from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError

from apps.ops import freezes
from apps.ops.backups import restore, server
from apps.ops.backups.files import BackupFile
from apps.ops.deploys import recovery
from apps.ops.deploys.events import Listener
from apps.ops.deploys.lock import deploy_lock
from apps.ops.errors import Cancelled, OpsError, Refused, StepFailed
from apps.ops.interrupts import cancellable
from apps.ops.management.base import OpsCommand
from apps.ops.requester import Requester


class Command(OpsCommand):
    help = (
        "Replace the database by a backup; the old one is kept under another name. Exit code 0, 1 "
        "when it failed and the database is the old one, 4 when a deployment runs, 5 when there is "
        "no such backup, it is damaged, or nobody can be asked, 130 when "
        "the answer was no or it was cancelled."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help='Its name, its number, or "latest".')
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Do not ask.",
        )
        parser.add_argument("--media", action="store_true", help="Its uploads, too.")
        parser.add_argument(
            "--no-safety-backup",
            action="store_false",
            dest="safety",
            help="Take no backup of what is there first: for a database that cannot be dumped.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by = Requester.now(settings.OPS).by
        try:
            file = restore.find(settings.OPS, options["backup"])
            if options["interactive"] and not sys.stdin.isatty():
                raise Refused(
                    "There is no terminal to ask on, and this replaces the database.",
                    next=f"manage.py restore_db {file.name} --noinput",
                )
            with deploy_lock(settings.OPS.state_dir, holder=f"{by} restores", what="restore"):
                if options["interactive"]:
                    self._ask(file, media=options["media"])
                # What a killed deployment left refers to the database as it is.
                try:
                    recovery.recover(settings.OPS, by="restore_db", presenter=Listener)
                except StepFailed as error:
                    # What is to be replaced need not be fixed first.
                    self.stderr.write(error.found)
                again = f"manage.py restore_db {file.name}   # when you like"
                with cancellable(next=again) as cancellation:
                    done = restore.restore(
                        settings.OPS,
                        file,
                        requested_by=by,
                        media=options["media"],
                        safety=options["safety"],
                        say=self.stdout.write,
                        before_swap=cancellation.shield,
                    )
                recovery.bring_history_up_to_date(settings.OPS)
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        self._report(file, done)

    def _ask(self, file: BackupFile, *, media: bool) -> None:
        size = restore.size_of_database()
        what = f"the database {server.name()} ({(size or 0) / 1e6:.1f} MB)"
        uploads = f" and the uploads in {settings.MEDIA_ROOT}" if media else ""
        self.stdout.write(
            f"This replaces {what}{uploads} by {file.name}, taken {_age(file.taken_at)} ago. "
            "What was written since is not in it. Requests that are being answered at that moment "
            "fail."
        )
        try:
            answer = input("Type 'yes' to go on: ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() != "yes":
            raise Cancelled(
                "Nothing was restored.",
                next=f"manage.py restore_db {file.name}   # to be asked again",
            )

    def _report(self, file: BackupFile, done: restore.Restored) -> None:
        self.stdout.write(f"{done.database} is {file.name} now.")
        if done.kept_as:
            self.stdout.write(
                f"The old one is kept as {done.kept_as}. When it is not needed any more:"
            )
            self.stdout.write(
                f"docker compose exec postgres dropdb --username "
                f"{settings.POSTGRES_LOGINS.user} {done.kept_as}"
            )
        if done.media_kept_in:
            self.stdout.write(
                f"The old uploads are kept in {done.media_kept_in}: remove them then."
            )
        # Its table of freezes is of then, and only for the admin to show.
        with suppress(DatabaseError, OpsError):
            frozen = freezes.in_force(settings.OPS.state_dir)
            if frozen:
                self.stdout.write(f"Deployments are still frozen: {frozen.describe()}.")
            freezes.publish(settings.OPS.state_dir)
        if done.missing:
            self.stdout.write(
                f"It lacks {len(done.missing)} migrations that the old one had, from "
                f"{done.missing[0]} on: the release that serves may not run on it."
            )
            self.stdout.write("Next: manage.py rollback, or manage.py deploy to apply them again")


def _age(moment: datetime) -> str:
    minutes = int((datetime.now(UTC) - moment).total_seconds() // 60)
    for size, word in ((1440, "day"), (60, "hour")):
        if minutes >= size:
            number = minutes // size
            return f"{number} {word}{'s' if number > 1 else ''}"
    return f"{minutes} minute{'s' if minutes != 1 else ''}"
