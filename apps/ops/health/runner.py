"""Runs checks side by side. None can hang or crash the others, nor whoever asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from apps.ops.conf import OpsSettings
from apps.ops.deadlines import side_by_side
from apps.ops.errors import OpsError
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, HealthCheck, Result, Status, unknown
from apps.ops.health.starving import Starvation
from apps.ops.redact import Redactor

MAX_TEXT = 300
# What took almost as long as a check may wait for an answer.
TIME_OUT_SECONDS = 0.9 * SECONDS
DOCTOR = "manage.py doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and in how many seconds.

    `held_back` is what it found bad in vain: on a machine as busy as this one it says nothing yet.
    """

    name: str
    result: Result
    seconds: float
    held_back: Result | None = None


def run(
    checks: Sequence[HealthCheck],
    settings: OpsSettings,
    *,
    starvation: Callable[[], Starvation] = Starvation,
) -> list[Finding]:
    """What each check finds, in their order, after `settings.health_seconds` at the latest.

    Never raises: what a check raises counts as not measured, and so does an answer that is no
    result. Secrets are hidden, and every text is one line of at most MAX_TEXT characters.
    """
    begun = monotonic()
    deadline = begun + settings.health_seconds
    starved = starvation()
    answers = side_by_side(
        [partial(_look, check, settings) for check in checks], until=[deadline] * len(checks)
    )
    redactor = Redactor.from_environment()
    findings = []
    for check, answer in zip(checks, answers, strict=True):
        if isinstance(answer, TimeoutError):
            result, seconds = _hung(check, settings.health_seconds), monotonic() - begun
        elif isinstance(answer, BaseException):
            result, seconds = _raised(answer), 0.0
        else:
            result, seconds = answer
        findings.append(Finding(check.name, _tidy(result, redactor), seconds))
    return [_held_back(f) for f in findings] if starved.is_felt() else findings


def _held_back(finding: Finding) -> Finding:
    """A time-out on a busy machine is no answer."""
    if finding.result.status != Status.BAD or finding.seconds < TIME_OUT_SECONDS:
        return finding
    result = unknown(
        one_line(f"The machine is busy, so this says little: {finding.result.summary}"),
        next=finding.result.next,
    )
    return replace(finding, result=result, held_back=finding.result)


def exit_code(findings: Sequence[Finding]) -> int:
    """0: all is good, 1: something is bad, 3: something could not be measured."""
    statuses = {finding.result.status for finding in findings}
    if Status.BAD in statuses:
        return 1
    return 3 if Status.UNKNOWN in statuses else 0


def _look(check: HealthCheck, settings: OpsSettings) -> tuple[Result, float]:
    begun = monotonic()
    try:
        result = check.look(settings)
        if not isinstance(result, Result):
            result = unknown(f"The check gave no result but {type(result).__name__}.")
    except BaseException as error:  # Also SystemExit: it ends the check, not us.
        result = _raised(error)
    return result, monotonic() - begun


def _hung(check: HealthCheck, seconds: float) -> Result:
    return Result(check.hung, f"It did not answer within {seconds:g} s.", check.next or DOCTOR)


def _raised(error: BaseException) -> Result:
    if isinstance(error, OpsError):
        return unknown(error.found, next=error.next)
    said = (str(error).strip().splitlines() or [""])[0]
    return unknown(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _tidy(result: Result, redactor: Redactor) -> Result:
    """What can be stored and shown, whoever wrote the check."""
    try:
        return Result(
            Status(result.status),
            one_line(redactor.clean(str(result.summary))),
            one_line(redactor.clean(str(result.next))),
            {one_line(str(k)): _figure(v, redactor) for k, v in result.figures.items()},
        )
    except (ValueError, TypeError, AttributeError) as error:
        return unknown(one_line(f"The check's result makes no sense: {error}"))


def one_line(text: str) -> str:
    """Without what neither Postgres, JSON nor a terminal would take."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def _figure(value: Figure, redactor: Redactor) -> Figure:
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return one_line(redactor.clean(str(value)))
