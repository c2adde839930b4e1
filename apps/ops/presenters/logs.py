"""Log lines, for eyes and for machines."""

from __future__ import annotations

import re
from collections.abc import Callable

from apps.ops.stack.log_reader import Line

STYLES = re.compile(r"\x1b\[[0-9;:]*m")
_PAINT = {"django-a": "34", "django-b": "32", "django-q": "35", "caddy": "36"}
_PAINT |= {"utility": "33", "jobs": "33"}
_GRAY = "90"


def as_text(line: Line) -> str:
    """When (UTC), which service, which colour, what it said without colours of its own."""
    who = f"{line.source.service:<8} {line.source.color or '':<5}"
    return f"{line.at[5:10]} {line.at[11:23]} {who} | {STYLES.sub('', line.text)}"


def painted(line: Line) -> Callable[[str], str]:
    """The style of such a text: what stands before the bar has its service's colour."""
    paint = _PAINT.get(line.source.service, _GRAY)
    return lambda text: f"\x1b[{paint}m{text.replace(' | ', '\x1b[0m | ', 1)}"


def as_json(line: Line) -> dict[str, str | None]:
    return {
        "time": line.at,
        "service": line.source.service,
        "color": line.source.color.value if line.source.color else None,
        "container": line.source.container[:12],
        "line": line.text,
    }
