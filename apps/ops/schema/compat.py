"""Whether older code runs on today's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """`names`: the migrations to reverse, newest first; for "impossible" those that cannot be."""

    kind: Literal["safe", "reverse", "impossible"]
    names: tuple[str, ...]
    why: str


def compatibility(extra: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge the applied migrations that the older release does not know.

    Args:
        extra: them, newest first, as the preflight recorded them: name, kind, reversible.
    """
    contracts = [index for index, migration in enumerate(extra) if migration["kind"] == "contract"]
    if not contracts:
        why = "every migration since only added to the schema" if extra else "the schema is its own"
        return Verdict("safe", (), why)
    # Those that came after a contract one may stand on it: they go first.
    undone = extra[: contracts[-1] + 1]
    stuck = tuple(m["name"] for m in undone if not m["reversible"])
    oldest = undone[-1]["name"]
    if stuck:
        return Verdict(
            "impossible",
            stuck,
            f"{oldest} changed what the older code relies on, and {stuck[0]} cannot be reversed",
        )
    return Verdict(
        "reverse",
        tuple(m["name"] for m in undone),
        f"{oldest} changed what the older code relies on; what was written since into columns and "
        "tables that the reversed migrations added is lost",
    )
