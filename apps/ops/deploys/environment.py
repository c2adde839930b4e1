"""What a release asks of `.env`, by name; values are never looked at beyond being there."""

from __future__ import annotations

import re

from apps.ops.source import Checkout

_COMMENT = re.compile(r"(^|\s+)#.*$")
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")


def missing_variables(checkout: Checkout, release: str) -> list[str]:
    """Variables that the release's `.env.example` requires (nothing after the "=") and `.env`
    does not set."""
    example = checkout.file(release, ".env.example") or ""
    required = [name for name, value in assignments(example) if not value]
    dotenv = checkout.path / ".env"
    given = (
        {name for name, value in assignments(dotenv.read_text()) if value}
        if dotenv.exists()
        else set()
    )
    return [name for name in required if name not in given and f"{name}_FILE" not in given]


def assignments(text: str) -> list[tuple[str, str]]:
    found = (_ASSIGNMENT.match(line) for line in text.splitlines())
    return [(match[1], _value(match[2])) for match in found if match]


def _value(raw: str) -> str:
    if raw[:1] in ("'", '"'):
        return raw[1:].partition(raw[0])[0]
    return _COMMENT.sub("", raw)
