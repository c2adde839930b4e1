"""A frozen project refuses deployments: who wants that, why, and until when.

What counts lies on the state volume, which only the utility containers mount. The table of freezes
is a copy, to be looked at in the admin: what the web writes there freezes and lifts nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from django.db import DatabaseError, transaction
from django.utils import timezone

from apps.ops import durable, postgres
from apps.ops.deploys import journal
from apps.ops.errors import Frozen, OpsError, Refused
from apps.ops.models import Freeze
from apps.ops.requester import is_of_the_site, printable

FILE = "freezes.json"
LOCK = "freezes.lock"
KEPT = 100
MAX_REASON = 200
LONGEST = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Record:
    """A freeze as the state volume has it; times are ISO 8601, "" where there is none."""

    uid: str
    reason: str
    frozen_by: str
    frozen_at: str
    until: str = ""
    lifted_by: str = ""
    lifted_at: str = ""

    def is_in_force(self) -> bool:
        past = self.until and datetime.fromisoformat(self.until) <= timezone.now()
        return not self.lifted_at and not past

    def as_fields(self) -> dict[str, object]:
        """A row of the table."""
        ended = not self.lifted_at and not self.is_in_force()
        return {
            "reason": self.reason,
            "frozen_by": self.frozen_by,
            "frozen_at": datetime.fromisoformat(self.frozen_at),
            "until": _time(self.until),
            "lifted_by": "its end" if ended else self.lifted_by,
            "lifted_at": _time(self.until if ended else self.lifted_at),
        }

    def describe(self) -> str:
        """Who, since when, until when and why, in the project's time zone."""
        return describe(
            self.frozen_by,
            datetime.fromisoformat(self.frozen_at),
            _time(self.until),
            self.reason,
        )


def in_force(state_dir: Path) -> Record | None:
    """The freeze that is neither lifted nor past its end.

    Raises (as `freeze` and `unfreeze`, too):
        OpsError: the state volume cannot be read or written; or it was never written, because an
            older release kept freezes in Postgres, which does not answer.
    """
    records = _read(state_dir)
    if records is None:
        with _changing(state_dir) as records:
            pass
    return _in_force(records)


def freeze(reason: str, *, by: str, state_dir: Path, until: datetime | None = None) -> Record:
    """Refuse deployments from now on, until then or until somebody lifts it.

    Raises:
        Refused: there is no reason, the end is past or far off, or they are frozen already.
    """
    reason = printable(reason)
    if not 0 < len(reason) <= MAX_REASON:
        raise Refused(
            f"A freeze needs a reason, of at most {MAX_REASON} characters.",
            next='manage.py freeze "what the others should know"',
        )
    now = timezone.now()
    if until is not None:
        _require_soon(until, now)
    with _changing(state_dir) as records:
        if there := _in_force(records):
            raise Refused(
                f"Deployments are frozen already: {there.describe()}.",
                next="manage.py unfreeze   # then freeze anew, if another end or reason is meant",
            )
        end = until.isoformat() if until else ""
        made = Record(journal.new_uid(), reason, by[:150], now.isoformat(), end)
        records.append(made)
    return made


def unfreeze(*, by: str, state_dir: Path) -> Record | None:
    """Lift the freeze that is in force; None when there was none.

    Raises:
        Refused: it is to be lifted through the site, and was not asked for there.
    """
    with _changing(state_dir) as records:
        there = _in_force(records)
        if there is None:
            return None
        if is_of_the_site(by) and not is_of_the_site(there.frozen_by):
            raise Refused(
                "This freeze was made at the command line, and is lifted only there: "
                f"{there.describe()}.",
                next="manage.py unfreeze   # on the server",
            )
        lifted = replace(there, lifted_by=by[:150], lifted_at=timezone.now().isoformat())
        records[records.index(there)] = lifted
    return there


def require_not_frozen(override: bool, *, state_dir: Path) -> str:
    """Let nothing pass while deployments are frozen, unless it is overruled.

    Returns:
        What was overruled, for the history; "" when nothing was frozen.

    Raises:
        Frozen: deployments are frozen; says by whom, why and until when.
        OpsError: whether they are frozen is not known.
    """
    there = in_force(state_dir)
    if there is None:
        return ""
    if override:
        return f"freeze of {there.describe()}"[:300]
    raise Frozen(
        f"Deployments are frozen by {there.describe()}.",
        next="manage.py deploy --override   # is recorded; or: manage.py unfreeze",
    )


def publish(state_dir: Path) -> None:
    """Make the table say what the state volume does.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    records = _read(state_dir)
    if records is None:
        return
    with transaction.atomic():
        known = {record.uid: record for record in records}
        forged = Freeze.objects.filter(lifted_at__isnull=True).exclude(uid__in=known)
        forged.update(lifted_at=timezone.now(), lifted_by="nobody: it was not in force")
        rows = {row.uid: row for row in Freeze.objects.filter(uid__in=known)}
        # Those that are over first: the table has room for one that is not.
        for record in sorted(records, key=Record.is_in_force):
            row = rows.get(record.uid) or Freeze(uid=record.uid)
            fields = record.as_fields()
            if row.pk is None or any(getattr(row, k) != value for k, value in fields.items()):
                for name, value in fields.items():
                    setattr(row, name, value)
                row.save()


def describe(by: str, since: datetime, until: datetime | None, reason: str) -> str:
    end = f"until {moment(until)}" if until else "until somebody lifts it"
    return f"{by or 'somebody'} since {moment(since)}, {end}: {reason}"


def moment(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"


def read_end(text: str) -> datetime:
    """A time such as "2026-12-27 08:00", in the project's time zone unless it says another.

    Raises:
        Refused: it is not a time.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return at if at.tzinfo else timezone.make_aware(at)
    except (ValueError, OverflowError):
        raise Refused(
            f'"{text}" is not a time.', next='write it like --until "2026-12-27 08:00"'
        ) from None


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _in_force(records: list[Record]) -> Record | None:
    return next((record for record in records if record.is_in_force()), None)


@contextmanager
def _changing(state_dir: Path) -> Iterator[list[Record]]:
    """The records, to be changed by one process at a time; written when nothing was raised."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = _read(state_dir)
        if records is None:
            records = _of_an_older_release()
        yield records
        try:
            kept = [asdict(record) for record in records[-KEPT:]]
            durable.write(state_dir / FILE, json.dumps(kept, indent=1))
        except OSError as error:
            raise _unusable(error) from error
    finally:
        os.close(lock)


def _read(state_dir: Path) -> list[Record] | None:
    """None when nothing was ever written."""
    try:
        text = (state_dir / FILE).read_text()
        return [Record(**record) for record in json.loads(text)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(error) from error


def _of_an_older_release() -> list[Record]:
    """What is in force in the table, which was the truth before there was a file; once."""
    try:
        rows = list(Freeze.objects.filter(lifted_at__isnull=True, uid=None))
        for row in rows:
            row.uid = journal.new_uid()
            Freeze.objects.filter(pk=row.pk).update(uid=row.uid)
    except DatabaseError as error:
        raise postgres.away(
            error, without="Whether deployments are frozen is not known."
        ) from error
    return [
        Record(
            str(row.uid),
            row.reason,
            row.frozen_by,
            row.frozen_at.isoformat(),
            row.until.isoformat() if row.until else "",
        )
        for row in rows
    ]


def _unusable(error: Exception) -> OpsError:
    return OpsError(
        f"Whether deployments are frozen is not known: {FILE} on the state volume cannot be read "
        f"or written ({error}).",
        next="df -h   # is the disk full, or the state volume gone? then: manage.py freeze REASON",
    )


def _require_soon(until: datetime, now: datetime) -> None:
    if until <= now:
        raise Refused(
            f"The freeze would have ended before it began: {until:%Y-%m-%d %H:%M %Z} is past, "
            f"it is {moment(now)}.",
            next="give a later --until, or --hours N",
        )
    if until - now > LONGEST:
        raise Refused(
            f"The freeze would end in more than {LONGEST.days} days.",
            next="leave --until away: then it lasts until manage.py unfreeze",
        )
