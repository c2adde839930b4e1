from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Purge


class PurgeAdmin(ReadOnlyAdmin):
    list_display = ("state", "where", "done", "reason", "requested_by", "started")
    list_display_links = ("where",)
    list_filter = ("status",)
    search_fields = ("where", "reason", "requested_by", "deployment_uid")
    sortable_by = ()
    fields = (
        "state",
        "where",
        "done",
        "asked_for",
        "remaining",
        "error",
        "reason",
        "requested_by",
        "requested_from",
        "deployment_uid",
        "started_at",
        "finished_at",
        "exit_code",
    )

    @admin.display(description="status")
    def state(self, purge: Purge) -> SafeString:
        return labels.status(purge.status)

    @admin.display(description="purged")
    def done(self, purge: Purge) -> str:
        return f"{purge.purged:,} of {purge.total:,}"

    @admin.display(description="when")
    def started(self, purge: Purge) -> SafeString:
        return labels.moment(purge.started_at)

    @admin.display(description="asked for", empty_value="")
    def asked_for(self, purge: Purge) -> SafeString:
        return _lines([" ".join((kind, v)) for kind, vs in purge.what.items() for v in vs or [""]])

    @admin.display(description="left", empty_value="")
    def remaining(self, purge: Purge) -> SafeString:
        return _lines(purge.left)


def _lines(lines: list[str]) -> SafeString:
    items = format_html_join("", "<li><code>{}</code></li>", ((line,) for line in lines))
    return format_html("<ul>{}</ul>", items) if lines else SafeString("")
