from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Freeze


class FreezeAdmin(ReadOnlyAdmin):
    list_display = ("state", "reason", "frozen_by", "frozen", "ends", "lifted_by", "lifted")
    list_display_links = ("reason",)
    search_fields = ("reason", "frozen_by", "lifted_by")
    sortable_by = ()

    @admin.display(description="state")
    def state(self, freeze: Freeze) -> str:
        if freeze.lifted_at:
            return "lifted"
        return "past" if freeze.until and freeze.until <= timezone.now() else "in force"

    @admin.display(description="frozen")
    def frozen(self, freeze: Freeze) -> SafeString:
        return labels.moment(freeze.frozen_at)

    @admin.display(description="until", empty_value="until it is lifted")
    def ends(self, freeze: Freeze) -> SafeString | None:
        return labels.moment(freeze.until) if freeze.until else None

    @admin.display(description="lifted", empty_value="")
    def lifted(self, freeze: Freeze) -> SafeString | None:
        return labels.moment(freeze.lifted_at) if freeze.lifted_at else None
