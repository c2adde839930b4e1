from __future__ import annotations

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from apps.ops.colors import Color
from apps.ops.models import Deployment, Release

# Whose names are offered: those who asked for the last so many deployments, and of them so many.
RECENT_DEPLOYMENTS = 500
MAX_NAMES = 20


class ColorFilter(admin.SimpleListFilter):
    title = "colour"
    parameter_name = "color"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Deployment]
    ) -> list[tuple[str, str]]:
        return [(color.value, color.value) for color in Color]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Deployment]
    ) -> QuerySet[Deployment]:
        value = self.value()
        return queryset.filter(color=value) if value else queryset


class WhoFilter(admin.SimpleListFilter):
    """Who asked. The default filter would read the whole table and list every name there is; the
    search finds the others."""

    title = "who"
    parameter_name = "who"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Deployment]
    ) -> list[tuple[str, str]]:
        recent = Deployment.objects.order_by("-id").values_list("requested_by", flat=True)
        names = list(dict.fromkeys(filter(None, recent[:RECENT_DEPLOYMENTS])))[:MAX_NAMES]
        chosen = self.value()
        if chosen and chosen not in names:
            names.append(chosen)
        return [(name, name) for name in sorted(names, key=str.casefold)]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Deployment]
    ) -> QuerySet[Deployment]:
        value = self.value()
        return queryset.filter(requested_by=value) if value else queryset


class WentLiveFilter(admin.SimpleListFilter):
    title = "went live"
    parameter_name = "live"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Release]
    ) -> list[tuple[str, str]]:
        return [("yes", "yes"), ("never", "never")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        live = Exists(
            Deployment.objects.filter(release=OuterRef("pk"), status=Deployment.Status.SUCCEEDED)
        )
        match self.value():
            case "yes":
                return queryset.filter(live)
            case "never":
                return queryset.filter(~live)
            case _:
                return queryset
