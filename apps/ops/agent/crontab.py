"""The crontab: when which command is due. Read leniently: a bad line is said, the others count."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from django.conf import settings as site
from django.core.management import find_commands

from apps import ops
from apps.ops.agent import shell_words
from apps.ops.conf import OpsSettings

FIELDS = 5
_ASSIGNMENT = re.compile(r"(\w+)\s*=\s*(.*)")
# A job that was due more often than that while nobody was there is not counted to the end.
MOST = 10_000
MAX_COMMAND = 200  # As its row has room for.
# With these, Django's command line runs code of anybody's choice.
_ANYBODYS_CODE = ("--settings", "--pythonpath")


@dataclass(frozen=True, slots=True)
class Line:
    """`seconds` is the deadline of what it runs; `zone` is what its fields are in."""

    number: int
    fields: str
    command: str
    zone: ZoneInfo
    seconds: float

    def after(self, moment: datetime) -> Iterator[datetime]:
        """When it is due after a moment, in UTC. Clock changes are as in Debian's cron: what falls
        into an hour that is left out runs once after it, what falls into a doubled one runs once.
        """
        times = CronSim(self.fields, moment.astimezone(self.zone))
        # Asked in the second of two doubled hours, it begins with what was due in the first.
        return (at for time in times if (at := time.astimezone(UTC)) > moment)


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that does not count."""

    number: int
    text: str
    found: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.found} ({self.text})"


@dataclass(frozen=True, slots=True)
class Job:
    """A command and the lines that want it: one job, which never runs beside itself."""

    command: str
    lines: tuple[Line, ...]

    @property
    def argv(self) -> list[str]:
        """`manage.py` means this project's, run by this Python; there is no shell."""
        words = shlex.split(self.command)
        return [sys.executable, *words] if words[0] == "manage.py" else words

    @property
    def is_own(self) -> bool:
        """Whether it is one of the ops commands, which need Docker's socket, the state or the
        backups. All others are the site's."""
        return is_own(self.command)

    def due(self, after: datetime, until: datetime) -> list[tuple[datetime, float]]:
        """When it was due in between, oldest first, each with its deadline in seconds.

        Args:
            until: included; `after` is not.
        """
        found: dict[datetime, float] = {}
        for line in self.lines:
            for count, at in enumerate(line.after(after)):
                if at > until or count >= MOST:
                    break
                found.setdefault(at, line.seconds)
        return sorted(found.items())

    def next(self, after: datetime) -> datetime | None:
        """When it is due next; None when it is not within decades."""
        nexts = (next(line.after(after), None) for line in self.lines)
        return min(filter(None, nexts), default=None)


def is_own(command: str) -> bool:
    """As `Job.is_own`."""
    words = shlex.split(command)
    return (
        words[0] == "manage.py"
        and words[1:2] != []
        and words[1] in _own_commands()
        and not any(word.startswith(_ANYBODYS_CODE) for word in words)
    )


@cache
def _own_commands() -> frozenset[str]:
    return frozenset(find_commands(str(Path(ops.__path__[0], "management"))))


@dataclass(frozen=True, slots=True)
class Crontab:
    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...]


def read(path: Path, *, zone: str, seconds: float) -> Crontab:
    """Read a crontab; one that cannot be read is a problem of its own.

    Args:
        zone: the time zone of lines without a `CRON_TZ=` above them.
        seconds: the deadline of lines without a `DEADLINE=` above them.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        return Crontab((), (Problem(0, str(path), f"it cannot be read: {error}"),))
    return parse(text, zone=zone, seconds=seconds)


def path_of(settings: OpsSettings, root: Path) -> Path:
    """Where a project that lies at `root` has its crontab."""
    return root / settings.crontab


def of(settings: OpsSettings, root: Path) -> Crontab:
    """The crontab of a project that lies at `root`."""
    return read(path_of(settings, root), zone=site.TIME_ZONE, seconds=settings.job_seconds)


def parse(text: str, *, zone: str, seconds: float) -> Crontab:
    lines: dict[str, list[Line]] = {}
    problems: list[Problem] = []
    pattern = Line(0, "", "", ZoneInfo(zone), seconds)
    for number, raw in enumerate(text.split("\n"), start=1):
        written = raw.strip()
        if not written or written.startswith("#"):
            continue
        try:
            if assignment := _ASSIGNMENT.fullmatch(written):
                pattern = _assign(pattern, *assignment.groups())
            else:
                line = _line(replace(pattern, number=number), written)
                lines.setdefault(line.command, []).append(line)
        except ValueError as error:
            problems.append(Problem(number, written, str(error)))
    jobs = tuple(Job(command, tuple(its)) for command, its in lines.items())
    return Crontab(jobs, tuple(problems))


def _assign(pattern: Line, name: str, value: str) -> Line:
    value = value.strip("\"'")
    match name:
        case "CRON_TZ":
            try:
                return replace(pattern, zone=ZoneInfo(value))
            except (ValueError, OSError, LookupError):
                raise ValueError(f'"{value}" is not a time zone; try Europe/Berlin') from None
        case "DEADLINE":
            if not re.fullmatch(r"\d{1,9}", value) or not int(value):
                raise ValueError(f'"{value}" is no deadline in seconds; write it like DEADLINE=600')
            return replace(pattern, seconds=float(value))
    raise ValueError(f"{name} cannot be set here; CRON_TZ and DEADLINE can")


def _line(pattern: Line, written: str) -> Line:
    if written.startswith("@"):
        raise ValueError(shell_words.instead_of_nickname(written.split()[0]))
    parts = written.split(maxsplit=FIELDS)
    if len(parts) <= FIELDS:
        raise ValueError("it is not five fields and a command")
    fields, command = " ".join(parts[:FIELDS]), " ".join(parts[FIELDS].split())
    try:
        CronSim(fields, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"{str(error).lower()} in {fields}") from None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"its command cannot be read: {str(error).lower()}") from None
    if not words or not words[0]:
        raise ValueError("its command is empty")
    if "\x00" in command:
        raise ValueError("its command has a character that no command can have")
    if len(command) > MAX_COMMAND:
        raise ValueError(f"its command is longer than {MAX_COMMAND} characters: put it in a script")
    if found := shell_words.needed(command):
        raise ValueError(found)
    return replace(pattern, fields=fields, command=command)
