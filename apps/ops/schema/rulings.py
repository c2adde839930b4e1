"""What a ruling on an operation is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["expand", "long lock", "contract"]
KINDS: tuple[Kind, ...] = ("expand", "long lock", "contract")  # from harmless to breaking

AFTER = "Do it after the swap: put it into a migration of its own with phase = 'contract'"
Ruling = tuple[Kind, str, str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known about the tables.

    `created` are those that the same plan makes: no live code knows them. `rows` estimates a
    table's rows; `large` is the number from which on it counts as large.
    """

    large: int
    rows: Callable[[str], int]
    created: set[str] = field(default_factory=set)

    def is_large(self, table: str) -> bool:
        return table not in self.created and self.rows(table) >= self.large


def expand(why: str) -> Ruling:
    return "expand", why, ""


def contract(why: str, advice: str) -> Ruling:
    return "contract", why, advice


def indexed(table: str, around: Surroundings) -> Ruling:
    if around.is_large(table):
        return (
            "long lock",
            f"writes to {table} wait while its {around.rows(table):,} rows are indexed",
            "Use AddIndexConcurrently in a migration with atomic = False",
        )
    return expand(f"an index on {table}, which is small")
