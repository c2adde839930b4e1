"""Log lines, for eyes and for machines."""

from __future__ import annotations

import re

from apps.ops.stack.log_reader import Line

_STYLES = re.compile(r"\x1b\[[0-9;:]*m")
# What moves a cursor, sets a title, rings or turns text round: no log may do that to its reader.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PAINT = {"django-a": "34", "django-b": "32", "django-q": "35", "caddy": "36"}
_PAINT |= {"utility": "33", "jobs": "33"}
_GRAY = "90"


def visible(text: str) -> str:
    """The text without colours of its own; control characters are written out (`^[`)."""
    return _CONTROL.sub(_written_out, _STYLES.sub("", text))


def as_text(line: Line, *, paint: bool) -> str:
    """When (UTC), which service, which colour, what it said."""
    who = f"{line.source.service:<8} {line.source.color or '':<5}"
    prefix = f"{line.at[5:10]} {line.at[11:23]} {who}"
    if paint:
        prefix = f"\x1b[{_PAINT.get(line.source.service, _GRAY)}m{prefix}\x1b[0m"
    return f"{prefix} | {visible(line.text)}"


def as_json(line: Line) -> dict[str, str | None]:
    return {
        "time": line.at,
        "service": line.source.service,
        "color": line.source.color.value if line.source.color else None,
        "container": line.source.container[:12],
        "line": line.text,
    }


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"^{chr(code ^ 64)}" if code < 128 else f"\\u{code:04x}"
