"""`$NAME` and `${NAME:-…}` in a text, as Compose replaces them."""

from __future__ import annotations

import re
from collections.abc import Callable

# None: there is no such variable.
Lookup = Callable[[str], str | None]

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
_PATTERN = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<plain>{_NAME})|\{{(?:(?P<braced>{_NAME}(?::?[-+?].*)?)\}}|(?P<bad>)))"
)
_OPERATOR = re.compile(r":?[-+?]")


class NotWhole(ValueError):
    """Compose refuses the text: "${" begins what is no variable, or one that is demanded is not
    set. Says nothing of it."""


def has_variable(text: str) -> bool:
    """Whether Compose would put something in the place of a part of it."""
    return any(not match["dollar"] for match in _PATTERN.finditer(text))


def expand(text: str, lookup: Lookup) -> str:
    """Every variable in its place; one that is not set is nothing, and `$$` is `$`.

    Raises:
        NotWhole: Compose refuses it.
    """
    return _PATTERN.sub(lambda match: _replace(match[0], lookup), text)


def _replace(found: str, lookup: Lookup) -> str:
    # The pattern takes all up to the last brace of the line: what is behind the first one's own
    # closing brace is a text again.
    end = _closing_brace(found)
    found, rest = found[:end], found[end:]
    match = _PATTERN.fullmatch(found)
    if match is None or match["bad"] is not None:
        raise NotWhole
    if match["dollar"]:
        return "$"
    if match["plain"]:
        return lookup(match["plain"]) or ""
    return _braced(match["braced"], lookup) + expand(rest, lookup)


def _braced(inner: str, lookup: Lookup) -> str:
    operator = _OPERATOR.search(inner)
    if operator is None:
        return lookup(inner) or ""
    value, other = lookup(inner[: operator.start()]), inner[operator.end() :]
    is_there = bool(value) if ":" in operator[0] else value is not None
    match operator[0][-1]:
        case "-":
            return value or "" if is_there else expand(other, lookup)
        case "+":
            return expand(other, lookup) if is_there else value or ""
    if not is_there:
        raise NotWhole
    return value or ""


def _closing_brace(text: str) -> int:
    """Behind the brace that closes the first one; the end where there is none."""
    depth, at = 0, 0
    while at < len(text):
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        elif text[at] == "{":
            depth += 1
            at += 1
        at += 1
    return len(text)
