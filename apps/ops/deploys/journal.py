"""What deployments do, on the disk before they do it: JSON lines, one file a deployment.

It is what a killed deployment is undone or finished from, and what the history is brought up to
date from when Postgres was away. The files lie on the state volume; the newest KEPT stay.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apps.ops import durable
from apps.ops.deploys.story import Record, Story

DIRECTORY = "journal"
KEPT = 200
_UID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{6}")


def new_uid() -> str:
    """A deployment's name; names sort as they were given."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def is_uid(text: str) -> bool:
    """Whether it can be a deployment's name: it becomes part of files' and containers' names."""
    return _UID.fullmatch(text) is not None


class Journal:
    """One deployment's file.

    Raises (every method):
        OSError: the disk is full, or the volume is not there.
    """

    def __init__(self, state_dir: Path, uid: str) -> None:
        self._path = state_dir / DIRECTORY / f"{uid}.jsonl"
        self._descriptor: int | None = None

    def append(self, record: Record) -> None:
        """Write a line. It is on the disk when this returns."""
        line = json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"
        descriptor = self._open()
        # What was begun, here or by a killed process, must not swallow the line after it.
        _end_a_line_cut_short(self._path, descriptor)
        if os.write(descriptor, line) != len(line):
            raise OSError("the journal's disk is full")
        os.fdatasync(descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)
            durable.sync(self._path.parent)
        return self._descriptor


def stories(state_dir: Path) -> Iterator[Story]:
    """What the journal tells, the newest deployment first."""
    for path in _files(state_dir):
        yield read(path)


def read(path: Path) -> Story:
    """One deployment's story. A line that was cut short, by a kill or a full disk, is left out."""
    story = Story(path.stem)
    for line in path.read_bytes().splitlines():
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            story.apply(json.loads(line))
    return story


def prune(state_dir: Path) -> None:
    for path in _files(state_dir)[KEPT:]:
        path.unlink(missing_ok=True)


def now() -> str:
    return datetime.now(UTC).isoformat()


def record(event: str, **fields: Any) -> Record:
    return {"event": event, "time": now(), **fields}


def _files(state_dir: Path) -> list[Path]:
    found = (state_dir / DIRECTORY).glob("*.jsonl")
    return sorted((p for p in found if is_uid(p.stem)), reverse=True)


def _end_a_line_cut_short(path: Path, descriptor: int) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        cut_short = file.read() not in (b"", b"\n")
    if cut_short:
        os.write(descriptor, b"\n")
