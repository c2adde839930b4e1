from __future__ import annotations

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Backup


class BackupAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "bytes", "reason", "requested_by", "started")
    list_filter = ("status",)
    search_fields = ("name", "reason", "requested_by")
    sortable_by = ()
    ordering = ("-id",)

    @admin.display(description="status")
    def state(self, backup: Backup) -> SafeString:
        return labels.status(backup.status)

    @admin.display(description="size")
    def bytes(self, backup: Backup) -> str:
        return filesizeformat(backup.size + backup.media_size)

    @admin.display(description="when")
    def started(self, backup: Backup) -> SafeString:
        return labels.moment(backup.started_at)
