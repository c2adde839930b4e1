"""What is known of each check now, in a file on the state volume.

Whom to tell what is decided from it, so that "Postgres is down" is told, too. Postgres has the
history; what it does not have yet waits here.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from apps.ops.health.result import Result, Status

FILE = "health.json"
LOCK = "health.lock"
LOCK_SECONDS = 0.5
# When nobody looked for longer, what was seen before says nothing about the time since.
GAP = timedelta(minutes=15)
# What stayed as it was for so long is calm: the change after it begins something new.
CALM = timedelta(minutes=10)
# A check's changes that wait for Postgres. More become one "unknown".
MAX_PENDING = 100
# Room at the end of the file: on a full disk it is written over, and there is only that room.
SLACK = 8192


@dataclass(frozen=True, slots=True)
class Change:
    """A check's status changed; `was` is "" for its first result."""

    was: str
    status: str
    at: datetime
    summary: str = ""

    @property
    def key(self) -> tuple[datetime, str]:
        return self.at, self.status


@dataclass(slots=True, kw_only=True)
class Known:
    """A check as it is known now.

    Attributes:
        since: since when it has this status.
        measured: its last status that was good or bad, "" before there was one, and since when:
            that it could not be measured in between does not end it.
        restless: since when no status that was measured has lasted for CALM, up to its last change.
        told: the status that each channel was told of last, by the channel's key.
        pending: its changes that Postgres does not have yet, the oldest first.
    """

    status: str
    since: datetime
    first_seen: datetime
    last_seen: datetime
    measured: str = ""
    measured_since: datetime
    restless: datetime
    summary: str = ""
    next: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    @classmethod
    def new(cls, at: datetime) -> Known:
        return cls(status="", since=at, first_seen=at, last_seen=at, measured_since=at, restless=at)

    def see(self, result: Result, at: datetime) -> None:
        """Take in what a check found at that time."""
        if at - self.last_seen > GAP:
            self._flip(Status.UNKNOWN, self.last_seen, "Nobody looked.")
        self._flip(result.status, at, result.summary)
        if result.status != Status.UNKNOWN and result.status != self.measured:
            if at - self.measured_since >= CALM:
                self.restless = at
            self.measured, self.measured_since = result.status, at
        self.summary, self.next = result.summary, result.next
        self.figures = dict(result.figures)
        # A clock that was ahead and is set right must not make it "since tomorrow".
        self.since, self.measured_since = min(self.since, at), min(self.measured_since, at)
        self.restless, self.last_seen = min(self.restless, at), at

    def lasted(self) -> timedelta:
        """For how long it was seen to be as it was measured last."""
        return self.last_seen - self.measured_since

    def flapped(self) -> timedelta:
        """For how long it has come and gone; 0 when it is calm."""
        return timedelta() if self.lasted() >= CALM else self.last_seen - self.restless

    def _flip(self, status: str, at: datetime, summary: str) -> None:
        if status == self.status:
            return
        self.pending.append(Change(self.status, str(status), at, summary))
        self.status, self.since = str(status), at
        if len(self.pending) > MAX_PENDING:
            first, _, third, *rest = self.pending
            unknown = Change(first.was, Status.UNKNOWN.value, first.at, "It changed too often.")
            third = Change(unknown.status, third.status, third.at, third.summary)
            self.pending = [unknown, third, *rest]


def load(state_dir: Path) -> dict[str, Known]:
    """What is known of each check. A file that cannot be read, or a part of it, is not known."""
    try:
        record = json.loads((state_dir / FILE).read_bytes())
        checks = record["checks"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    known = {}
    for name, values in checks:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            known[name] = _from_json(values)
    return known


@contextmanager
def changing(state_dir: Path) -> Iterator[dict[str, Known]]:
    """What is known, to be changed; it is written at the end. One process at a time.

    Raises:
        OSError: it could not be written, or another process keeps the lock.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with lock(state_dir / LOCK, seconds=LOCK_SECONDS):
        known = load(state_dir)
        yield known
        _save(state_dir / FILE, known)


@contextmanager
def lock(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold this file's lock; the kernel frees it when its holder dies.

    Raises:
        OSError: it cannot be opened; TimeoutError when another process held it for `seconds`.
    """
    # Only to read: a lock that is there can be taken on a read-only file system, too.
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise TimeoutError(f"another process keeps {path} locked") from None
                sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _save(path: Path, known: Mapping[str, Known]) -> None:
    text = json.dumps({"checks": {name: asdict(k) for name, k in known.items()}}, default=_iso)
    data = text.encode() + b"\n"
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(data + b" " * SLACK)
        temporary.replace(path)
    except OSError:
        # On a full disk this is the one alert that must not get lost: write over what is there.
        with suppress(OSError):
            temporary.unlink()
        if not path.exists():
            raise
        with path.open("r+b") as file:
            there = os.fstat(file.fileno()).st_size
            file.write(data.ljust(there))
            file.truncate()


def _iso(at: datetime) -> str:
    return at.isoformat()


def _from_json(values: dict[str, Any]) -> Known:
    return Known(
        status=Status(values["status"]).value,
        since=_time(values["since"]),
        first_seen=_time(values["first_seen"]),
        last_seen=_time(values["last_seen"]),
        measured=str(values["measured"]),
        measured_since=_time(values["measured_since"]),
        # Files of older releases do not have it.
        restless=_time(values.get("restless", values["first_seen"])),
        summary=str(values["summary"]),
        next=str(values["next"]),
        figures=dict(values["figures"]),
        told={str(key): str(status) for key, status in values["told"].items()},
        pending=[
            Change(str(c["was"]), Status(c["status"]).value, _time(c["at"]), str(c["summary"]))
            for c in values["pending"]
        ],
    )


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at
