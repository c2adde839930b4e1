from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Request
from apps.ops.requester import through_the_site


class RequestAdmin(ReadOnlyAdmin):
    list_display = ("request", "requester", "requested", "state", "answer")
    list_display_links = ("request",)
    list_filter = ("kind", "outcome")
    list_select_related = ("deployment",)
    search_fields = ("ref", "reason", "requested_by", "answer")
    sortable_by = ()
    ordering = ("-id",)
    fields = (
        "request",
        "reason",
        "until",
        "requester",
        "requested",
        "state",
        "answer",
        "deployment",
    )
    readonly_fields = fields

    @admin.display(description="asked for")
    def request(self, row: Request) -> SafeString:
        what = labels.ref(row.ref) or row.reason
        return format_html('{} <bdi class="ops-ref" title="{}">{}</bdi>', row.kind, row.ref, what)

    @admin.display(description="who, from where")
    def requester(self, row: Request) -> SafeString:
        return format_html(
            '<bdi>{}</bdi> <bdi class="ops-from">{}</bdi>',
            through_the_site(row.requested_by),
            row.requested_from,
        )

    @admin.display(description="when")
    def requested(self, row: Request) -> SafeString:
        return labels.moment(row.created_at)

    @admin.display(description="status")
    def state(self, row: Request) -> SafeString:
        return labels.status(row.outcome or "waiting")
