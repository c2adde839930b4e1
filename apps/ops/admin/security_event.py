from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import SecurityEvent


class SecurityEventAdmin(ReadOnlyAdmin):
    list_display = ("what_happened", "name", "address", "details", "moment")
    list_display_links = ("what_happened",)
    list_filter = ("event",)
    search_fields = ("username", "address", "detail")
    sortable_by = ()
    ordering = ("-id",)
    fields = list_display
    readonly_fields = fields

    @admin.display(description="event")
    def what_happened(self, row: SecurityEvent) -> SafeString:
        return labels.status(row.event)

    @admin.display(description="who", empty_value="nobody")
    def name(self, row: SecurityEvent) -> SafeString | None:
        return format_html("<bdi>{}</bdi>", row.username) if row.username else None

    @admin.display(description="what", empty_value="")
    def details(self, row: SecurityEvent) -> SafeString | None:
        return format_html("<bdi>{}</bdi>", row.detail) if row.detail else None

    @admin.display(description="when")
    def moment(self, row: SecurityEvent) -> SafeString:
        return labels.moment(row.at)
