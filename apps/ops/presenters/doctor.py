"""`doctor`, for eyes and for machines: one page, a question a paragraph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apps.ops.doctor import Diagnosis
from apps.ops.gate import shown
from apps.ops.health.result import Result, Status
from apps.ops.health.runner import Finding
from apps.ops.presenters.logs import STYLES
from apps.ops.presenters.styled import Screen

# In the order in which they are asked on a bad night.
QUESTIONS = (
    ("Is Docker running?", ("docker",)),
    ("Is supervisor, and do its programs run?", ("supervisor",)),
    ("Are all services running?", ("service-", "postgres", "redis", "workers")),
    ("Who is live, and does it answer?", ("live", "front-door", "standby", "maintenance")),
    ("Is a deployment stuck?", ("deployment", "history", "freeze")),
    ("Is the disk full?", ("disk", "memory")),
)
REST = "And the rest?"
_MARKS = {Status.GOOD: "[green]ok[/]", Status.BAD: "[red]!![/]", Status.UNKNOWN: "[yellow]??[/]"}
MAX_LINE = 200


def print_diagnosis(diagnosis: Diagnosis, console: Screen) -> None:
    for question, findings in _asked(diagnosis.findings):
        console.say("[bold]{}[/]", question)
        for names, result in _together(findings):
            of = f"{names}: " if result.status is not Status.GOOD else ""
            console.say(f"  {_MARKS[result.status]} {{}}", of + result.summary)
            if result.next:
                console.print(f"     → {result.next}")
    for service, lines in diagnosis.logs.items():
        console.say("[bold]What {} said last[/]", service)
        for line in lines:
            console.print(f"  | {shown(STYLES.sub('', line))[:MAX_LINE]}")
    console.print()
    console.say(_verdict(diagnosis.findings))


def diagnosis_as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "exit_code": diagnosis.exit_code,
        "live": diagnosis.live,
        "findings": [
            {
                "name": finding.name,
                "status": finding.result.status.value,
                "summary": finding.result.summary,
                "next": finding.result.next,
                "figures": dict(finding.result.figures),
                "seconds": round(finding.seconds, 3),
            }
            for finding in diagnosis.findings
        ],
        "logs": diagnosis.logs,
    }


def _asked(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    left = list(findings)
    for question, names in QUESTIONS:
        about = [f for f in left if f.name in names or f"{f.name.partition('-')[0]}-" in names]
        left = [f for f in left if f not in about]
        if about:
            yield question, about
    if left:
        yield REST, left


def _together(findings: Sequence[Finding]) -> Iterator[tuple[str, Result]]:
    """What several checks say in the same words is said once: all that Docker did not tell."""
    said: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        said.setdefault((finding.result.summary, finding.result.next), []).append(finding)
    for same in said.values():
        yield ", ".join(finding.name for finding in same), same[0].result


def _verdict(findings: Sequence[Finding]) -> str:
    wrong = sum(f.result.status is Status.BAD for f in findings)
    unknown = sum(f.result.status is Status.UNKNOWN for f in findings)
    parts = [f"[red]{wrong} wrong[/]"] if wrong else []
    parts += [f"[yellow]{unknown} could not be looked at[/]"] if unknown else []
    return (
        f"{', '.join(parts)}, {len(findings) - wrong - unknown} well." if parts else "All is well."
    )
