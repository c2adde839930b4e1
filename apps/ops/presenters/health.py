"""`check_health` and `health_history`, for eyes, for pipes and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from apps.ops.health.history import CheckHistory
from apps.ops.health.result import Status
from apps.ops.health.runner import Finding
from apps.ops.presenters.styled import Screen, table

# Beside the word: neither the sign nor the colour has to be seen to know it.
SIGNS = {"good": "✓", "bad": "✗", "unknown": "?"}
COLORS = {"good": "green", "bad": "red", "unknown": "yellow"}


def print_findings(findings: Sequence[Finding], console: Screen) -> None:
    rows = table("check", "status", "took", "what was found", "next")
    for f in findings:
        rows.add_row(
            f.name,
            _colored(f.result.status, console),
            f"{f.seconds:.2f} s",
            f.result.summary,
            f.result.next,
        )
    console.print(rows)
    console.print(headline(findings))


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A plain line a check, and how many are good."""
    width = max((len(f.name) for f in findings), default=0)
    for f in findings:
        hint = f"  Next: {f.result.next}" if f.result.next else ""
        yield (
            f"{f.name:<{width}}  {word(f.result.status):<9}  {f.seconds:5.2f} s  "
            f"{f.result.summary}{hint}"
        )
    yield headline(findings)


def findings_as_json(findings: Sequence[Finding], exit_code: int) -> dict[str, Any]:
    return {
        "exit_code": exit_code,
        "checks": [
            {
                "name": f.name,
                "status": f.result.status.value,
                "seconds": round(f.seconds, 3),
                "summary": f.result.summary,
                "next": f.result.next,
                "figures": dict(f.result.figures),
            }
            for f in findings
        ],
    }


def headline(findings: Sequence[Finding]) -> str:
    counts = {s: sum(f.result.status == s for f in findings) for s in Status}
    said = [f"{counts[Status.GOOD]} of {len(findings)} checks are good"]
    if bad := counts[Status.BAD]:
        said.append(f"{bad} {'is' if bad == 1 else 'are'} bad")
    if unknown := counts[Status.UNKNOWN]:
        said.append(f"{unknown} could not be measured")
    return ", ".join(said) + "."


def print_histories(histories: Sequence[CheckHistory], console: Screen) -> None:
    if not histories:
        console.print("No check has been run yet. Next: manage.py check_health")
        return
    rows = table(
        "check", "status", "since (UTC)", "last seen (UTC)", "uptime", "not known", "flips"
    )
    for h in histories:
        rows.add_row(
            h.name,
            _colored(h.status, console),
            _moment(h.since),
            _moment(h.last_seen),
            h.uptime.in_words,
            _length(h.uptime.unknown),
            str(len(h.flips)),
        )
    console.print(rows)


def print_history(history: CheckHistory, console: Screen) -> None:
    up = history.uptime
    facts: dict[str, str | Text] = {
        "check": history.name,
        "status": _colored(history.status, console),
        "since": f"{_moment(history.since)} UTC",
        "last seen": f"{_moment(history.last_seen)} UTC",
        "found": history.summary,
        "next": history.next,
        "uptime": f"{up.in_words}, since {_moment(up.since)} UTC",
        "good": _length(up.good),
        "bad": _length(up.bad),
        "not known": _length(up.unknown),
    }
    for name, value in facts.items():
        if value:
            console.say(f"{name:<10} {{}}", value)
    rows = table("when (UTC)", "was", "is", "what was found")
    for flip in history.flips:
        rows.add_row(
            _moment(flip.at),
            _colored(flip.was, console) if flip.was else "new",
            _colored(flip.status, console),
            flip.summary,
        )
    console.print(rows if history.flips else "It did not change in this time.")


def history_as_json(history: CheckHistory, *, with_flips: bool) -> dict[str, Any]:
    up = history.uptime
    facts: dict[str, Any] = {
        "name": history.name,
        "status": history.status,
        "summary": history.summary,
        "next": history.next,
        "since": history.since.isoformat(),
        "last_seen": history.last_seen.isoformat(),
        "uptime_percent": None if up.percent is None else round(up.percent, 4),
        "uptime_since": up.since.isoformat(),
        "good_seconds": round(up.good, 3),
        "bad_seconds": round(up.bad, 3),
        "unknown_seconds": round(up.unknown, 3),
        "flips_total": len(history.flips),
    }
    if with_flips:
        facts["flips"] = [
            {"at": f.at.isoformat(), "was": f.was, "status": f.status, "summary": f.summary}
            for f in history.flips
        ]
    return facts


def word(status: str) -> str:
    return f"{SIGNS.get(status, '·')} {status}"


def _colored(status: str, console: Screen) -> Text:
    return console.styled(f"[{COLORS.get(status, 'default')}]{{}}[/]", word(status))


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _length(seconds: float) -> str:
    """The two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s"
