from __future__ import annotations

import stat
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops import purges
from apps.ops.cdn import operations as cdn
from apps.ops.cdn.answers import CdnAway
from apps.ops.cdn.operations import Operation
from apps.ops.deploys import history
from apps.ops.errors import OpsError, Refused
from apps.ops.interrupts import handling_signals
from apps.ops.management.base import CommandWithExitCodes

USAGE = 2
CHECK_SECONDS = 60.0
SHOWN = 10
MAX_FILE_BYTES = 10_000_000

EXIT_CODES = """\
exit codes:
  0    all purged (Cloudflare: accepted)
  1    nothing purged; with --check: it could not purge
  2    usage; nothing was sent
  6    partly purged: it says what is left, and the command for that
  130  the answer to the question was no; nothing was sent

@FILE reads arguments from a file, one a line (--url=https://…): @/dev/stdin, too.
"""


class Command(CommandWithExitCodes):
    works_in_development = True
    exit_codes = EXIT_CODES
    help = (
        "Purge the CDN in front of the site (Cloudflare), or the site's own cache in Redis. "
        "Several at once may be given. Works with Postgres down; then it is not recorded."
    )
    requires_system_checks = []

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, fromfile_prefix_chars="@", **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        for word in argv[2:]:
            if word.startswith("@") and (found := _why_not_read(Path(word[1:]))):
                self.stderr.write(f"{word[1:]} is not read: {found}. Nothing was sent.")
                sys.exit(USAGE)
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_argument_group("what")
        what.add_argument("--everything", action="store_true", help="All of the zone. Asks first.")
        for option, metavar, meaning in (
            ("--url", "URL", "This page or file, its whole address."),
            ("--prefix", "PREFIX", "All addresses that begin so: www.example.org/static/"),
            ("--host", "HOST", "All of this host."),
            ("--tag", "TAG", "All answers with this Cache-Tag."),
        ):
            what.add_argument(
                option, metavar=metavar, action="append", default=[], help=f"{meaning} Repeatable."
            )
        what.add_argument("--static", action="store_true", help="All below STATIC_URL.")
        what.add_argument("--media", action="store_true", help="All below MEDIA_URL.")
        what.add_argument(
            "--redis", action="store_true", help="The site's own cache, by its key prefix."
        )
        how = parser.add_argument_group("how")
        how.add_argument(
            "--zone",
            default="",
            metavar="ZONE",
            help="Its name or id. Default: OPS_CLOUDFLARE_ZONE.",
        )
        how.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Do not ask.",
        )
        how.add_argument("--dry-run", action="store_true", help="Say what would be purged.")
        how.add_argument(
            "--check", action="store_true", help="Is the token good, and the zone there?"
        )
        how.add_argument("--reason", default="by hand", help="What the history will say.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._zone = options["zone"]
        self._ops = settings.OPS
        if self._zone:
            self._ops = replace(self._ops, cloudflare_zone=self._zone)
        try:
            wanted = _operations(options)
        except Refused as error:
            self._fail(USAGE, error.found, "Nothing was purged.", f"Next: {error.next}")
        if not (wanted or options["redis"] or options["check"]):
            raise CommandError(
                "Say what to purge: --everything, --url, --prefix, --host, --tag, --static, "
                "--media or --redis.",
                returncode=USAGE,
            )
        if options["check"]:
            if wanted or options["redis"]:
                raise CommandError("--check purges nothing: give it alone.", returncode=USAGE)
            self._check()
        elif options["dry_run"]:
            self._show(wanted, redis=options["redis"])
        else:
            if cdn.EVERYTHING in wanted and options["interactive"]:
                self._ask()
            self._purge(wanted, options)

    def _purge(self, wanted: list[Operation], options: dict[str, Any]) -> None:
        stop = Event()
        asked = purges.Asked(reason=options["reason"], stop=stop, say=self.stdout.write)
        # What is on its way is waited for: only its answer says whether it was purged.
        with handling_signals(lambda number, frame: stop.set()):
            purges.in_database(history.prepare)
            done = []
            if wanted:
                done.append(purges.purge_cdn(self._ops, wanted, asked))
            if options["redis"]:
                done.append(purges.purge_redis(self._ops, asked))
        for outcome in done:
            self._report(outcome)
        if any(outcome.number is None for outcome in done):
            self.stderr.write("Postgres does not answer as it should: this is not recorded.")
            self.stderr.write("Next: docker compose ps --all postgres")
        codes = {outcome.exit_code for outcome in done}
        sys.exit(codes.pop() if len(codes) == 1 else purges.PARTLY)

    def _report(self, outcome: purges.Purged) -> None:
        is_redis = outcome.where == purges.REDIS
        if outcome.error is None:
            much = "everything" if outcome.is_everything else f"{outcome.purged:,}"
            self.stdout.write(
                f"{outcome.where}: {much} {'keys removed' if is_redis else 'purged'}."
            )
        else:
            much = f"only {outcome.purged:,} of {outcome.total:,} purged"
            if is_redis:
                much = f"only {outcome.purged:,} keys removed, and some are left"
            if not outcome.purged:
                much = "nothing purged"
            lines = [f"{outcome.where}: {much}. {outcome.error.found}"]
            if outcome.left:
                more = len(outcome.left) - SHOWN
                lines += [f"  left: {operation}" for operation in outcome.left[:SHOWN]]
                lines += [f"  and {more:,} more"] if more > 0 else []
            lines.append("Traffic is as it was; visitors may get old copies until they expire.")
            for line in lines + self._next(outcome, outcome.error):
                self.stderr.write(line)

    def _next(self, outcome: purges.Purged, error: OpsError) -> list[str]:
        if not outcome.left:
            return [f"Next: {error.next}"]
        rest = purges.rest_command(self._ops, outcome.left, zone=self._zone)
        if isinstance(error, CdnAway):
            return [f"Next: {rest}"]
        return [f"Next: {error.next}", f"Then: {rest}"]

    def _check(self) -> None:
        asked = purges.Asked(seconds=CHECK_SECONDS, say=self.stdout.write)
        try:
            client = purges.cloudflare(self._ops, asked)
            zone, status = client.check(self._ops.cloudflare_zone)
        except OpsError as error:
            self._fail(1, error.found, "Nothing can be purged like this.", f"Next: {error.next}")
        self.stdout.write(f"The token is {status}, and may purge the zone {zone}.")

    def _show(self, wanted: list[Operation], *, redis: bool) -> None:
        requests = list(cdn.batches(wanted))
        if wanted:
            self.stdout.write(
                f"Would purge {len(wanted):,} at {self._ops.cloudflare_zone or 'no zone'}, in "
                f"{len(requests):,} request{'' if len(requests) == 1 else 's'}:"
            )
            for operation in wanted:
                self.stdout.write(f"  {operation}")
        if redis:
            self.stdout.write("Would remove the site's own keys from Redis.")

    def _ask(self) -> None:
        zone = self._ops.cloudflare_zone
        if not sys.stdin.isatty():
            self._fail(
                USAGE,
                "There is no terminal to ask on, and this purges everything.",
                "Nothing was purged.",
                "Next: manage.py purge_cache --everything --noinput",
            )
        self.stdout.write(
            f"This purges all that the CDN keeps of {zone or 'the zone'}. Until it is warm again, "
            "the server answers every request itself."
        )
        try:
            answer = input("Type 'yes' to go on: ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() != "yes":
            self._fail(
                130,
                "Nothing was purged.",
                "Next: manage.py purge_cache --everything   # to be asked again",
            )

    def _fail(self, code: int, *lines: str) -> NoReturn:
        for line in lines:
            self.stderr.write(line)
        sys.exit(code)


def _operations(options: dict[str, Any]) -> list[Operation]:
    """What was asked for, each once; everything covers the rest.

    Raises:
        Refused: an argument is not what it should be.
    """
    wanted = [cdn.url(text) for text in options["url"]]
    wanted += [cdn.prefix(text) for text in options["prefix"]]
    wanted += [cdn.host(text) for text in options["host"]]
    wanted += [cdn.tag(text) for text in options["tag"]]
    for name in ("static", "media"):
        if options[name]:
            wanted.append(purges.public(settings.OPS, f"{name.upper()}_URL"))
    return [cdn.EVERYTHING] if options["everything"] else list(dict.fromkeys(wanted))


def _why_not_read(path: Path) -> str:
    """Why a file of arguments is not read; "" when it is. That there is none, argparse says."""
    try:
        found = path.stat()
    except OSError:
        return ""
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return ""
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"  # A device has no end.
    if found.st_size > MAX_FILE_BYTES:
        return f"it has more than {MAX_FILE_BYTES // 1_000_000} MB"
    return ""
