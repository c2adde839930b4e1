from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from apps.ops.admin import labels, outcome, timeline
from apps.ops.admin import request as request_page
from apps.ops.admin.filters import ColorFilter, WhoFilter
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Deployment, Step
from apps.ops.schema import words

_NUMBER = re.compile(r"#?([0-9]{1,19})")
# git's own shortest abbreviation: digits that long can be a commit's too.
SHORTEST_SHA = 7
MAX_STEPS = 200
COMMITS_AT_FIRST = 20


class DeploymentList(ChangeList):
    """Without what no column shows: commits and errors can be long."""

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Deployment]:
        found: QuerySet[Deployment] = super().get_queryset(request, exclude_parameters)
        return found.annotate(error_start=Left("error", 200)).defer("commits", "error")


class DeploymentAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "status_and_why",
        "release_deployed",
        "asked_for",
        "who",
        "when",
    )
    list_display_links = ("number",)
    list_filter = ("status", "kind", ColorFilter, WhoFilter)
    list_select_related = ("release", "previous_release")
    search_fields = ("^release__sha", "release__subject", "ref", "requested_by", "error")
    search_help_text = (
        "A commit's first characters, words of its subject or of an error, a ref, who asked; "
        "#12 or 12 is that deployment."
    )
    sortable_by = ("number",)
    date_hierarchy = "created_at"
    ordering = ("-id",)

    def get_urls(self) -> list[URLPattern]:
        return [*request_page.urls(self), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeploymentList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        found: QuerySet[Deployment] = super().get_queryset(request)
        return found.select_related("release", "previous_release")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Deployment], search_term: str
    ) -> tuple[QuerySet[Deployment], bool]:
        term = search_term.strip()
        if number := _NUMBER.fullmatch(term):
            wanted = Q(pk=int(number[1]))
            if len(term) >= SHORTEST_SHA:
                wanted |= Q(release__sha__startswith=term)
            return queryset.filter(wanted), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description="no.", ordering="id")
    def number(self, deployment: Deployment) -> str:
        return f"#{deployment.pk}"

    @admin.display(description="status")
    def status_and_why(self, deployment: Deployment) -> SafeString:
        error: str = getattr(deployment, "error_start", "")
        found = Truncator(error.partition("\n")[0]).chars(110)
        word = outcome.word(deployment)
        why = found if found.lower().startswith(word) else f"{word}: {found}".removesuffix(": ")
        return format_html(
            '{} {}<span class="ops-why">{}</span>',
            labels.status(deployment.status),
            labels.warnings(len(deployment.warnings)),
            why,
        )

    @admin.display(description="release", empty_value="not known")
    def release_deployed(self, deployment: Deployment) -> SafeString | None:
        return labels.release(deployment.release, chars=90) if deployment.release else None

    @admin.display(description="asked for, colour")
    def asked_for(self, deployment: Deployment) -> SafeString:
        return format_html(
            '{} <bdi class="ops-ref" title="{}">{}</bdi> {}',
            deployment.kind,
            deployment.ref,
            labels.ref(deployment.ref),
            labels.color(deployment.color),
        )

    @admin.display(description="who, from where")
    def who(self, deployment: Deployment) -> SafeString:
        return format_html(
            '<bdi>{}</bdi> <bdi class="ops-from">{}</bdi>',
            deployment.requested_by or "unknown",
            deployment.requested_from,
        )

    @admin.display(description="when, how long")
    def when(self, deployment: Deployment) -> SafeString:
        return format_html(
            '{} <span class="ops-took">{}</span>',
            labels.moment(deployment.created_at),
            _took(deployment),
        )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Deployment | None = None,
    ) -> HttpResponse:
        assert obj is not None  # Nothing is added here.
        now = timezone.now()
        steps = list(obj.steps.all()[:MAX_STEPS])
        commits = list(_commits(obj))
        context |= {
            "title": f"Deployment #{obj.pk}",
            "subtitle": None,
            "deployment": obj,
            "status": labels.status(obj.status),
            "outcome": outcome.sentence(obj),
            "color": labels.color(obj.color),
            "release": labels.release(obj.release) if obj.release else "",
            "previous_release": (
                labels.release(obj.previous_release) if obj.previous_release else ""
            ),
            "may_view_releases": request.user.has_perm("ops.view_release"),
            "timings": list(_timings(obj, now)),
            "error": _Error.of(obj, steps),
            "steps": timeline.rows(obj, steps, now=now),
            "bake": _bake(obj.bake),
            "migrations": [_migration(m) for m in obj.migrations],
            "commits": commits[:COMMITS_AT_FIRST],
            "older_commits": commits[COMMITS_AT_FIRST:],
            "unlisted_commits": max(obj.commits_total - len(commits), 0),
        }
        return super().render_change_form(request, context, add, change, form_url, obj)


@dataclass(frozen=True, slots=True)
class _Error:
    """An error, and the step that said its output: what stands there is not shown twice."""

    found: str
    output: str
    step: Step | None

    @classmethod
    def of(cls, deployment: Deployment, steps: Sequence[Step]) -> _Error | None:
        if not deployment.error:
            return None
        found, _, output = deployment.error.partition("\n\n")
        failed = (step for step in steps if step.status == Step.Status.FAILED)
        step = next((step for step in failed if output and output in step.output), None)
        return cls(found, "" if step else output, step)


def _took(deployment: Deployment) -> str:
    if deployment.duration:
        return labels.length(deployment.duration)
    if deployment.status == Deployment.Status.RUNNING and deployment.started_at:
        return f"{labels.length(timezone.now() - deployment.started_at)} so far"
    return ""


def _timings(deployment: Deployment, now: datetime) -> Iterator[tuple[str, SafeString, str]]:
    """What happened when, and how long after what."""
    created, started = deployment.created_at, deployment.started_at
    swapped, finished = deployment.swapped_at, deployment.finished_at
    yield "Requested", labels.moment(created, zone=True), ""
    if started:
        waited = started - created
        note = f"after waiting {labels.length(waited)}" if waited.total_seconds() >= 1 else ""
        yield "Started", labels.moment(started, zone=True), note
    if swapped and started:
        note = f"{labels.length(swapped - started)} after the start"
        yield "Traffic moved", labels.moment(swapped, zone=True), note
    if finished and started:
        note = f"took {labels.length(finished - started)}"
        yield "Finished", labels.moment(finished, zone=True), note
    elif started:
        yield "Still running", labels.moment(now, zone=True), labels.length(now - started)


def _bake(figures: dict[str, Any]) -> dict[str, Any]:
    """The verdict, and a row for each release; empty when nothing was watched."""
    sides = [("before", figures.get("old")), ("this one", figures.get("new"))]
    rows = [{"name": name, **side} for name, side in sides if isinstance(side, dict)]
    return {"verdict": figures.get("verdict", ""), "rows": rows} if rows else {}


def _migration(judged: dict[str, Any]) -> dict[str, str]:
    return {
        "name": judged["name"],
        "heading": words.heading(judged),
        "text": "\n".join(words.details(judged)),
    }


def _commits(deployment: Deployment) -> Iterator[dict[str, str | SafeString]]:
    for commit in deployment.commits:
        sha, at = str(commit.get("sha", "")), _parsed(commit.get("committed_at"))
        yield {
            "sha": sha,
            "short": sha[:12],
            "subject": str(commit.get("subject", "")),
            "author": str(commit.get("author", "")),
            "at": labels.moment(at) if at else "",
        }


def _parsed(text: object) -> datetime | None:
    try:
        at = parse_datetime(str(text))
    except ValueError:
        return None
    return at if at and timezone.is_aware(at) else None
