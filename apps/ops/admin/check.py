from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.health.uptime import uptimes
from apps.ops.models import Check

DAYS = 30
SHOWN_FLIPS = 100


class CheckList(ChangeList):
    """With each check's uptime, from two queries a page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        checks = list(self.result_list)
        times = uptimes(checks, days=DAYS, now=timezone.now())
        for check in checks:
            check.uptime_percent = times[check.pk].in_words
        self.result_list = checks


class CheckAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "summary", "status_since", "seen", "uptime")
    list_filter = ("status",)
    search_fields = ("name", "summary")
    sortable_by = ()
    ordering = ("name",)
    fields = (
        "name",
        "state",
        "summary",
        "next",
        "what_was_measured",
        "status_since",
        "seen",
        "told",
        "uptime",
        "flips",
    )
    readonly_fields = fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CheckList

    @admin.display(description="status")
    def state(self, check: Check) -> SafeString:
        return labels.status(check.status)

    @admin.display(description="since")
    def status_since(self, check: Check) -> SafeString:
        return labels.moment(check.since)

    @admin.display(description="last seen")
    def seen(self, check: Check) -> SafeString:
        return labels.moment(check.last_seen)

    @admin.display(description=f"uptime, {DAYS} days")
    def uptime(self, check: Check) -> str:
        shown: str | None = getattr(check, "uptime_percent", None)
        if shown is None:
            shown = uptimes([check], days=DAYS, now=timezone.now())[check.pk].in_words
        return shown

    @admin.display(description="figures", empty_value="none")
    def what_was_measured(self, check: Check) -> SafeString | None:
        rows = [(name, value) for name, value in check.figures.items()]
        return format_html_join(", ", "{}: {}", rows) if rows else None

    @admin.display(description=f"the last {SHOWN_FLIPS} flips")
    def flips(self, check: Check) -> SafeString:
        rows = (
            (labels.moment(flip.at), labels.status(flip.status), flip.summary)
            for flip in check.flips.order_by("-at", "-id")[:SHOWN_FLIPS]
        )
        cells = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html(
            "<table><thead><tr><th>when</th><th>status</th><th>what was found</th></tr></thead>"
            "<tbody>{}</tbody></table>",
            cells,
        )
