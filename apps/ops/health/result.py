"""What a health check says, and what a health check is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from apps.ops.conf import OpsSettings
from apps.ops.models import Check

Figure = int | float | str
Status = Check.Status


@dataclass(frozen=True, slots=True)
class Result:
    """`summary` is a sentence; `next` is what to type, "" when nothing has to be done."""

    status: Status
    summary: str
    next: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def good(summary: str, **figures: Figure) -> Result:
    return Result(Status.GOOD, summary, figures=figures)


def bad(summary: str, *, next: str, **figures: Figure) -> Result:
    return Result(Status.BAD, summary, next, figures)


def unknown(summary: str, *, next: str = "") -> Result:
    """It could not be measured, which is neither good nor bad."""
    return Result(Status.UNKNOWN, summary, next)


Look = Callable[[OpsSettings], Result]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing to look at.

    Attributes:
        look: looks at it; what it raises counts as not measured.
        hung: what it means when `look` has not come back at its deadline: bad, where it asks the
            thing itself; not measured, where it asks somebody else about it.
        next: what to type then.
    """

    name: str
    look: Look
    hung: Status = Status.UNKNOWN
    next: str = ""
