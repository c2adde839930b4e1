from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator

from apps.home.models import Message


class WelcomesFilter(admin.SimpleListFilter):
    """The three answers that matter. The default filter would list every count there is."""

    title = "welcomes"
    parameter_name = "welcomed"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Message]
    ) -> list[tuple[str, str]]:
        return [
            ("never", "never (waiting or lost)"),
            ("once", "once"),
            ("repeatedly", "more than once"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        match self.value():
            case "never":
                return queryset.filter(welcomes=0)
            case "once":
                return queryset.filter(welcomes=1)
            case "repeatedly":
                return queryset.filter(welcomes__gt=1)
            case _:
                return queryset


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """To read messages and take them down. Guests write them, on the site: that queues the task."""

    list_display = ("__str__", "excerpt", "thumbnail", "welcomes", "created_at")
    list_filter = (WelcomesFilter,)
    search_fields = ("name", "text")
    date_hierarchy = "created_at"
    # A search says how many it found, not of how many: the latter counts the whole table.
    show_full_result_count = False
    fields = ("name", "text", "picture", "created_at", "welcomes", "welcomed_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    @admin.display(description="text")
    def excerpt(self, message: Message) -> str:
        return Truncator(message.text).chars(40)

    @admin.display(description="picture", empty_value="")
    def thumbnail(self, message: Message) -> str | None:
        if not message.picture:
            return None
        return format_html('<img src="{}" alt="" height="40" loading="lazy">', message.picture.url)
