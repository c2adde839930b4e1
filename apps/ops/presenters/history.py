"""`history`, for eyes and for machines: the list, and one deployment with all that it left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from apps.ops.exits import EXIT_CODES
from apps.ops.models import Deployment, Step
from apps.ops.presenters.styled import Screen, table

OUTPUT_LINES = 20


def print_list(deployments: Sequence[Deployment], console: Screen) -> None:
    if not deployments:
        console.print("No deployment that fits.")
        return
    rows = table("#", "what", "release", "how it went", "by", "from", "when (UTC)", "took", "")
    for d in deployments:
        rows.add_row(
            str(d.pk),
            f"{d.kind} {d.ref[:40]}",
            d.release.short if d.release else "",
            _how(d),
            d.requested_by,
            d.requested_from,
            _moment(d.created_at),
            _seconds(d.started_at, d.finished_at),
            ", ".join(_marks(d)),
        )
    console.print(rows)


def print_one(deployment: Deployment, steps: Sequence[Step], console: Screen) -> None:
    for name, value in _facts(deployment):
        console.print(f"{name:<12} {value}")
    if deployment.error:
        console.print()
        for part in (*deployment.error.split("\n"), deployment.traffic):
            console.print(part)
        if deployment.next:
            console.print(f"Next: {deployment.next}")
    for warning in deployment.warnings:
        console.say("[yellow]! {}[/]", warning)
    if steps:
        console.print(_steps(steps))
    for step in steps:
        if step.status == Step.Status.FAILED and step.output:
            console.print(f"The last lines of {step.name}:")
            for line in step.output.split("\n")[-OUTPUT_LINES:]:
                console.print(f"  {line}")
    _print_parts("Commits", deployment.commits_total, _commits(deployment), console)
    _print_parts("Migrations", len(deployment.migrations), _lines(deployment.migrations), console)
    _print_parts("Bake", len(deployment.bake), _lines(deployment.bake), console)


def list_as_json(deployments: Sequence[Deployment]) -> list[dict[str, Any]]:
    return [_as_json(d) for d in deployments]


def one_as_json(deployment: Deployment, steps: Sequence[Step]) -> dict[str, Any]:
    return {
        **_as_json(deployment),
        "commits": deployment.commits,
        "migrations": deployment.migrations,
        "bake": deployment.bake,
        "steps": [
            {
                "position": s.position,
                "name": s.name,
                "status": s.status,
                "started_at": _iso(s.started_at),
                "finished_at": _iso(s.finished_at),
                "summary": s.summary,
                "output": s.output,
            }
            for s in steps
        ],
    }


def _as_json(d: Deployment) -> dict[str, Any]:
    return {
        "id": d.pk,
        "uid": d.uid,
        "kind": d.kind,
        "status": d.status,
        "ref": d.ref,
        "release": d.release.sha if d.release else None,
        "previous_release": d.previous_release.sha if d.previous_release else None,
        "color": d.color,
        "requested_by": d.requested_by,
        "requested_from": d.requested_from,
        "created_at": _iso(d.created_at),
        "started_at": _iso(d.started_at),
        "swapped_at": _iso(d.swapped_at),
        "finished_at": _iso(d.finished_at),
        "exit_code": d.exit_code,
        "error": d.error,
        "traffic": d.traffic,
        "next": d.next,
        "warnings": d.warnings,
        "override": d.override,
        "commits_total": d.commits_total,
    }


def _facts(d: Deployment) -> Iterator[tuple[str, str]]:
    yield "deployment", f"#{d.pk}, {d.kind} {d.ref}"
    yield "status", _how(d)
    if d.release:
        yield "release", f"{d.release.short} {d.release.subject}"
    if d.previous_release:
        yield "before", f"{d.previous_release.short} {d.previous_release.subject}"
    if d.color:
        yield "colour", d.color
    yield "asked for by", f"{d.requested_by or 'unknown'} from {d.requested_from or 'unknown'}"
    yield "begun", f"{_moment(d.started_at or d.created_at)} UTC"
    if d.swapped_at:
        yield "swapped", f"{_moment(d.swapped_at)} UTC"
    if d.finished_at:
        took = _seconds(d.started_at, d.finished_at)
        yield "ended", f"{_moment(d.finished_at)} UTC{f', after {took}' if took else ''}"
    if d.override:
        yield "overruled", d.override


def _steps(steps: Sequence[Step]) -> Table:
    rows = table("step", "how it went", "took", "what came of it")
    for step in steps:
        rows.add_row(
            step.name,
            step.status,
            _seconds(step.started_at, step.finished_at),
            step.summary,
        )
    return rows


def _commits(d: Deployment) -> list[str]:
    lines = [f"{c['sha'][:12]} {c['subject']} ({c['author']})" for c in d.commits]
    if d.commits_total > len(lines):
        lines.append(f"and {d.commits_total - len(lines)} more")
    return lines


def _print_parts(heading: str, count: int, lines: Sequence[str], console: Screen) -> None:
    if lines:
        console.print(f"{heading} ({count}):")
    for line in lines:
        console.print(f"  {line}")


def _lines(value: Any, indent: int = 0) -> list[str]:
    """Any JSON as lines: what is measured and judged is written by others and grows."""
    pad = "  " * indent
    if isinstance(value, list):
        return [line for item in value for line in _lines(item, indent)]
    if not isinstance(value, dict):
        return [pad + part for part in str(value).split("\n")]
    lines = []
    for name, item in value.items():
        if isinstance(item, dict | list) and item:
            lines += [f"{pad}{name}:", *_lines(item, indent + 1)]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{pad}{name}:", *(f"{pad}  {part}" for part in item.split("\n"))]
        else:
            lines.append(f"{pad}{name}: {item if isinstance(item, str) else json.dumps(item)}")
    return lines


def _how(d: Deployment) -> str:
    meaning = EXIT_CODES.get(d.exit_code) if d.exit_code is not None else None
    # What the status alone does not say: busy, refused, cancelled.
    return f"{d.status} ({meaning.word})" if meaning and d.exit_code in (4, 5, 130) else d.status


def _marks(d: Deployment) -> Iterator[str]:
    if count := len(d.warnings):
        yield f"{count} warning{'' if count == 1 else 's'}"
    if d.override:
        yield "overruled"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _seconds(begun: datetime | None, ended: datetime | None) -> str:
    return f"{(ended - begun).total_seconds():.1f} s" if begun and ended else ""


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
