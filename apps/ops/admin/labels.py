"""The small parts that every page of the history shows the same way."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localtime

from apps.ops.models import Release

_SHA = re.compile(r"[0-9a-f]{40}")

# Beside the word: neither the sign nor the colour has to be seen to know it.
SIGNS = {
    "queued": "…",
    "running": "▸",
    "succeeded": "✓",
    "failed": "✗",
    "rolled back": "↶",
    "undone": "↶",
    "interrupted": "⊘",
    "verified": "✓",
    "removed": "∅",
    "good": "✓",
    "bad": "✗",
    "unknown": "?",
    "purged": "✓",
    "partly": "◐",
    "timed out": "✗",
    "missed": "∅",
    "skipped": "∅",
    "lost": "⊘",
    "waiting": "…",
    "accepted": "✓",
    "refused": "✗",
    "login": "→",
    "logout": "←",
    "login failed": "✗",
    "locked out": "⊘",
    "permission denied": "✗",
    "password confirmed": "✓",
    "asked": "▸",
}


def status(value: str) -> SafeString:
    """The status of a deployment or of a step."""
    return format_html(
        '<span class="ops-status ops-{}"><span aria-hidden="true">{}</span> {}</span>',
        value.replace(" ", "-"),
        SIGNS.get(value, "·"),
        value,
    )


def color(value: str) -> SafeString:
    if not value:
        return SafeString("")
    return format_html('<span class="ops-color ops-color-{}">{}</span>', value, value)


def moment(at: datetime, *, zone: bool = False) -> SafeString:
    """In the site's time zone, to the second."""
    local = localtime(at)
    return format_html(
        '<time datetime="{}" title="{}"><span>{}</span> <span>{}</span></time>',
        local.isoformat(timespec="seconds"),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        f"{local:%Y-%m-%d}",
        f"{local:%H:%M:%S %Z}" if zone else f"{local:%H:%M:%S}",
    )


def warnings(count: int) -> SafeString:
    if not count:
        return SafeString("")
    return format_html(
        '<span class="ops-warned"><span aria-hidden="true">⚠</span> {} warning{}</span>',
        count,
        "" if count == 1 else "s",
    )


def ref(value: str) -> str:
    """A branch, a tag or a commit, as short as it can be told from others."""
    return value[:12] if _SHA.fullmatch(value) else Truncator(value).chars(40)


def release(value: Release, *, chars: int = 200) -> SafeString:
    # A subject is anybody's text: <bdi> keeps its direction from turning its neighbours around.
    return format_html(
        '<code class="ops-sha" title="{}">{}</code> <bdi class="ops-subject">{}</bdi>',
        value.sha,
        value.short,
        Truncator(value.subject).chars(chars),
    )


def length(time: timedelta) -> str:
    seconds = max(time.total_seconds(), 0.0)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
