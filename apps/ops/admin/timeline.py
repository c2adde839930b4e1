"""The steps of a deployment, each with a bar drawn where in its time it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.models import Deployment, Step

# The drawing is this wide, whatever the page is: whole numbers are the same in every language.
WIDTH = 1000
NARROWEST = 6


@dataclass(frozen=True, slots=True)
class Row:
    step: Step
    status: SafeString
    started: SafeString
    length: str
    bar: SafeString
    opened: bool


def rows(deployment: Deployment, steps: Sequence[Step], *, now: datetime) -> list[Row]:
    scale = _Scale(
        begin=deployment.started_at or (steps[0].started_at if steps else now),
        end=deployment.finished_at or now,
    )
    return [
        Row(
            step=step,
            status=labels.status(step.status),
            started=labels.moment(step.started_at),
            length=labels.length((step.finished_at or now) - step.started_at),
            bar=_bar(scale, step, swapped_at=deployment.swapped_at, now=now),
            opened=step.status == Step.Status.FAILED,
        )
        for step in steps
    ]


@dataclass(frozen=True, slots=True)
class _Scale:
    begin: datetime
    end: datetime

    def at(self, moment: datetime) -> int:
        whole = (self.end - self.begin).total_seconds()
        share = (moment - self.begin).total_seconds() / whole if whole > 0 else 0.0
        return round(WIDTH * min(max(share, 0.0), 1.0))


def _bar(scale: _Scale, step: Step, *, swapped_at: datetime | None, now: datetime) -> SafeString:
    left = min(scale.at(step.started_at), WIDTH - NARROWEST)
    width = max(scale.at(step.finished_at or now) - left, NARROWEST)
    swap = (
        format_html('<rect class="ops-swap" x="{}" width="3" height="10"/>', scale.at(swapped_at))
        if swapped_at
        else SafeString("")
    )
    return format_html(
        '<svg class="ops-bar" viewBox="0 0 {} 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="ops-track" width="{}" height="10"/>'
        '<rect class="ops-fill ops-{}" x="{}" width="{}" height="10"/>{}</svg>',
        WIDTH,
        WIDTH,
        step.status,
        left,
        width,
        swap,
    )
