from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.ops.admin import labels
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import JobRun


class JobRunAdmin(ReadOnlyAdmin):
    list_display = ("command", "state", "was_due", "took", "exit_code")
    list_filter = ("status", ("job", admin.AllValuesFieldListFilter))
    search_fields = ("job", "output")
    sortable_by = ()
    date_hierarchy = "due"
    ordering = ("-due", "-id")
    fields = ("command", "state", "was_due", "took", "exit_code", "agent", "said")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobRun]:
        # The list shows none of the outputs, which are long.
        return super().get_queryset(request).defer("output")

    @admin.display(description="job")
    def command(self, run: JobRun) -> SafeString:
        return format_html('<code class="ops-sha">{}</code>', run.job)

    @admin.display(description="status")
    def state(self, run: JobRun) -> SafeString:
        return labels.status(run.status)

    @admin.display(description="due")
    def was_due(self, run: JobRun) -> SafeString:
        return labels.moment(run.due)

    @admin.display(description="how long", empty_value="")
    def took(self, run: JobRun) -> str | None:
        if not (run.started_at and run.finished_at):
            return None
        return labels.length(run.finished_at - run.started_at)

    @admin.display(description="its last lines", empty_value="nothing")
    def said(self, run: JobRun) -> SafeString | None:
        return format_html('<pre class="ops-output">{}</pre>', run.output) if run.output else None
