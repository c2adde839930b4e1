"""A judged migration in words: on the terminal, in the history, in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def heading(migration: dict[str, Any]) -> str:
    """How it was judged, and when it runs."""
    when = " (after the swap)" if migration["phase"] == "after" else ""
    back = "" if migration["reversible"] else ", irreversible"
    return f"{migration['kind']}{back}{when}"


def details(migration: dict[str, Any]) -> Iterator[str]:
    """Its SQL, and what is wrong with it, as lines."""
    for line in migration["sql"]:
        yield f"    {line}"
    for operation in migration["operations"]:
        if operation["kind"] != "expand":
            yield f"  {operation['kind']}: {operation['what']}: {operation['why']}"
            yield f"    {operation['advice']}"
