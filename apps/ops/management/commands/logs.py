from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from apps.ops.colors import Color
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.presenters.logs import as_json, as_text, painted
from apps.ops.redact import LineByLine
from apps.ops.stack.log_reader import Line, LogReader

TAIL = 100
_AGE = re.compile(r"(\d{1,9})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Command(OpsCommand):
    help = (
        "What the services logged, merged by time, with secrets taken out; stopped containers' "
        "logs, too. Needs Docker, and nothing else. Exit code 0, 1 when Docker does not answer, "
        "2 for a service, time or pattern that is none, 130 after Ctrl-C."
    )
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "services", nargs="*", metavar="SERVICE", help="Or blue, green. Default: all."
        )
        parser.add_argument(
            "--since", metavar="AGE|TIME", help='10m, 2h, 3d, or "2026-11-23 18:00".'
        )
        parser.add_argument(
            "--tail",
            type=_count,
            metavar="N",
            help=f"The last N lines of each container. Default: {TAIL}, or all with --since or "
            "--grep.",
        )
        parser.add_argument("--follow", "-f", action="store_true", help="Go on until Ctrl-C.")
        parser.add_argument(
            "--grep", metavar="REGEX", help="Only lines in which it is found ((?i) ignores case)."
        )
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="json: one object a line."
        )

    def handle(self, *args: Any, services: list[str], **options: Any) -> None:
        tail = options["tail"]
        if tail is None and not (options["since"] or options["grep"]):
            tail = TAIL
        reader = LogReader(
            settings.OPS.project,
            [Color(name).service if name in tuple(Color) else name for name in services],
            since=_since(options["since"]),
            tail=tail,
            wanted=_wanted(options["grep"]),
            cleaner=lambda: LineByLine(self.stdout.redactor).clean,
        )
        try:
            self._require_known(reader, services)
            self._show(reader, options)
        except OpsError as error:
            self.tell(error, traffic="")
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            # Who read us has seen enough (`| head`). Nothing more may be written, at exit neither.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def _require_known(self, reader: LogReader, services: list[str]) -> None:
        known = [*reader.known(), *Color]
        if unknown := [name for name in services if name not in known]:
            raise CommandError(
                f"There is no service {', '.join(unknown)}. There are: {', '.join(known)}.",
                returncode=2,
            )

    def _show(self, reader: LogReader, options: dict[str, Any]) -> None:
        terminal = sys.stdout.isatty()
        paint = options["force_color"] or (terminal and not options["no_color"])

        def show(line: Line) -> None:
            if options["format"] == "json":
                self.stdout.json(as_json(line))
            else:
                self.stdout.write(as_text(line), painted(line) if paint else None)

        if not reader.sources():
            self._say("No container of that has a log: nothing runs here, or it was removed.")
        for line in reader.history():
            show(line)
        self.stdout.flush()
        if options["follow"]:
            for line in reader.follow(lambda error: self._say(f"{error.found} Asking again.")):
                show(line)
                self.stdout.flush()

    def _say(self, text: str) -> None:
        self.stderr.write(text)


def _count(text: str) -> int:
    if not (text.isdecimal() and len(text) < 10):
        raise ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _since(text: str | None) -> float | None:
    """Seconds since 1970.

    Raises:
        CommandError: it is no age and no time, or one that has not come.
    """
    if text is None:
        return None
    now = timezone.now().timestamp()
    try:
        if age := _AGE.fullmatch(text.strip()):
            at = now - int(age[1]) * _UNIT_SECONDS[age[2]]
        else:
            moment = datetime.fromisoformat(text.strip())
            at = (moment if moment.tzinfo else timezone.make_aware(moment)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            f'--since: "{text}" is no age and no time. Write it like 10m, 2h, 3d, or '
            f'"2026-11-23 18:00" ({settings.TIME_ZONE}).',
            returncode=2,
        ) from None
    if at > now:
        raise CommandError(f'--since: "{text}" has not come yet.', returncode=2)
    # Docker knows no time before 1970.
    return max(at, 1.0)


def _wanted(pattern: str | None) -> Callable[[str], bool] | None:
    if pattern is None:
        return None
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise CommandError(
            f"--grep: {pattern!r} is no regular expression: {error}.", returncode=2
        ) from None
    return lambda text: found.search(text) is not None
