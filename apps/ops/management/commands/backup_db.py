from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError

from apps.ops import postgres
from apps.ops.backups import files
from apps.ops.backups.take import take
from apps.ops.colors import Color
from apps.ops.edge.files import Edge
from apps.ops.errors import OpsError
from apps.ops.interrupts import cancellable
from apps.ops.management.base import OpsCommand
from apps.ops.models import Backup
from apps.ops.requester import Requester
from apps.ops.stack.engine import Engine


class Command(OpsCommand):
    help = (
        "Dump the database into OPS_BACKUP_DIR, verify the file, and let old backups go. Exit code "
        "0, or 1 when it failed, 130 when it was cancelled: then nothing that looks like a backup "
        "is left."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--list", action="store_true", help="Show what there is. Works with Postgres down."
        )
        parser.add_argument("--media", action="store_true", help="With the uploads.")
        parser.add_argument("--reason", default="by hand", help="What the list will say.")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["format"] == "json"
        if options["list"]:
            self._list(as_json)
            return
        out = self.stderr if as_json else self.stdout
        try:
            with cancellable(next="manage.py backup_db   # when you like"):
                backup = take(
                    settings.OPS,
                    reason=options["reason"],
                    requested_by=Requester.now(settings.OPS).by,
                    release=_live_release(),
                    media=options["media"],
                    say=out.write,
                )
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        if as_json:
            facts = {
                "number": backup.pk,
                "name": backup.name,
                "bytes": backup.size,
                "sha256": backup.sha256,
                "media_bytes": backup.media_size,
                "media_sha256": backup.media_sha256,
            }
            self.stdout.json(facts, indent=2)
        else:
            self.stdout.write(f"Put it back: manage.py restore_db {backup.name}")

    def _list(self, as_json: bool) -> None:
        there = files.finished(settings.OPS.backup_dir)
        rows: dict[str, Backup] = {}
        try:
            with postgres.answering(without=""):
                rows = {r.name: r for r in Backup.objects.filter(name__in=[f.name for f in there])}
        except (OpsError, DatabaseError):
            self.stderr.write("Postgres does not answer: numbers and reasons are not known.")
        facts = [
            {
                "number": rows[file.name].pk if file.name in rows else None,
                "name": file.name,
                "taken_at": file.taken_at.isoformat(),
                "bytes": file.size,
                "sha256": file.sha256,
                "media_bytes": file.media_size,
                "reason": rows[file.name].reason if file.name in rows else "",
                "requested_by": rows[file.name].requested_by if file.name in rows else "",
            }
            for file in there
        ]
        if as_json:
            self.stdout.json(facts, indent=2)
            return
        if not facts:
            self.stdout.write(f"There is no backup in {settings.OPS.backup_dir}.")
        for file, fact in zip(there, facts, strict=True):
            self.stdout.write(
                f"{fact['number'] or '-':>5}  {file.name}  "
                f"{(file.size + file.media_size) / 1e6:.1f} MB"
                f"{' with uploads' if file.media_size else ''}  "
                f"{fact['reason']} {fact['requested_by'] and '(' + str(fact['requested_by']) + ')'}"
            )


def _live_release() -> str | None:
    """What serves now. A backup is worth taking without knowing it."""
    try:
        live: Color = Edge(settings.OPS.edge_dir).live()
        service = Engine(settings.OPS.project).service(live.service)
    except OpsError:
        return None
    return service.release if service else None
