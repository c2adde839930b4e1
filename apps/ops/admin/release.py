from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Max, Min, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.ops.admin import labels, outcome
from apps.ops.admin.filters import WentLiveFilter
from apps.ops.admin.readonly import ReadOnlyAdmin
from apps.ops.models import Deployment, Release

MAX_DEPLOYMENTS = 50


class ReleaseAdmin(ReadOnlyAdmin):
    list_display = (
        "commit",
        "subject_line",
        "author",
        "committed",
        "image_digest",
        "deployed",
    )
    list_display_links = ("commit",)
    list_filter = (WentLiveFilter,)
    search_fields = ("^sha", "subject", "author", "image")
    search_help_text = "A commit's first characters, words of its subject, its author, its image."
    sortable_by = ()
    # Newest first as `created_at` has it, and by an index.
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        found: QuerySet[Release] = super().get_queryset(request)
        return found.annotate(
            first_number=_of_deployment("id", order="id"),
            last_number=_of_deployment("id", order="-id"),
            last_status=_of_deployment("status", order="-id"),
        )

    @admin.display(description="commit")
    def commit(self, release: Release) -> SafeString:
        return format_html('<code class="ops-sha" title="{}">{}</code>', release.sha, release.short)

    @admin.display(description="subject")
    def subject_line(self, release: Release) -> SafeString:
        return format_html('<bdi class="ops-subject">{}</bdi>', release.subject)

    @admin.display(description="committed")
    def committed(self, release: Release) -> SafeString | None:
        return labels.moment(release.committed_at) if release.committed_at else None

    @admin.display(description="image", empty_value="not built")
    def image_digest(self, release: Release) -> SafeString | None:
        if not release.image:
            return None
        short = release.image.removeprefix("sha256:")[:12]
        return format_html('<code class="ops-sha" title="{}">{}</code>', release.image, short)

    @admin.display(description="first, last deployment", empty_value="never")
    def deployed(self, release: Release) -> SafeString | None:
        first: int | None = getattr(release, "first_number", None)
        if not first:
            return None
        last: int = getattr(release, "last_number", first)
        status = labels.status(getattr(release, "last_status", ""))
        if first == last:
            return format_html("#{} {}", last, status)
        return format_html("#{}, #{} {}", first, last, status)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Release | None = None,
    ) -> HttpResponse:
        assert obj is not None  # Nothing is added here.
        ran = obj.deployments.aggregate(total=Count("pk"), first=Min("pk"), last=Max("pk"))
        newest = obj.deployments.defer("commits", "error")[:MAX_DEPLOYMENTS]
        may_view = request.user.has_perm("ops.view_deployment")
        context |= {
            "title": f"Release {obj.short}",
            "subtitle": None,
            "release": obj,
            "committed": labels.moment(obj.committed_at, zone=True) if obj.committed_at else "",
            "built": labels.moment(obj.created_at, zone=True),
            "may_view_deployments": may_view,
            "ran": ran,
            "ends": [("First deployment", ran["first"]), ("Last deployment", ran["last"])],
            "deployments": [_row(deployment) for deployment in newest] if may_view else [],
            "all_deployments": f"{reverse('admin:ops_deployment_changelist')}?q={obj.sha}",
        }
        return super().render_change_form(request, context, add, change, form_url, obj)


def _of_deployment(field: str, *, order: str) -> Subquery:
    found = Deployment.objects.filter(release=OuterRef("pk")).order_by(order)
    return Subquery(found.values(field)[:1])


def _row(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment": deployment,
        "status": labels.status(deployment.status),
        "outcome": outcome.sentence(deployment),
        "color": labels.color(deployment.color),
        "when": labels.moment(deployment.created_at),
        "took": labels.length(deployment.duration) if deployment.duration else "",
    }
