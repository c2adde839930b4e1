"""The text of a `.env` file: read as Compose reads it, compared by its names, filled in.

Nothing in here puts a value into a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)", re.DOTALL)
_DESCRIBED = re.compile(r"^#?[ \t]*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=", re.MULTILINE)
_COMMENT = re.compile(r"(^|\s+)#.*$")
# "${" begins a variable: Compose reads nothing of a file in which one is not whole.
_NOT_WHOLE = re.compile(r"(?<!\\)\$\{(?![A-Za-z_][A-Za-z0-9_]*(?:\}|:?[-?+].*\}))", re.DOTALL)
_QUOTED = {'"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL), "'": re.compile(r"'([^']*)'")}


@dataclass(frozen=True, slots=True)
class Dotenv:
    """What a `.env` file says.

    Attributes:
        values: by name; of a name that is set twice the last one, as Compose does.
        wrong: the numbers of lines that are no assignment, or none that Compose can read.
        interpolated: names whose value has a "$" that Compose takes for a variable.
    """

    values: Mapping[str, str]
    wrong: tuple[int, ...]
    interpolated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """What `.env.example` tells: names that must have a value, and all that there are."""

    required: tuple[str, ...]
    known: frozenset[str]

    def missing(self, given: Dotenv) -> list[str]:
        """Required names without a value, and without one in a file (`NAME_FILE`)."""
        values = given.values
        return [n for n in self.required if not (values.get(n) or values.get(f"{n}_FILE"))]

    def unknown(self, given: Dotenv) -> list[str]:
        """Names that it does not tell of: most often a slip of the pen."""
        return [n for n in given.values if not {n, n.removesuffix("_FILE")} & self.known]


@dataclass(frozen=True, slots=True)
class Changes:
    """How two environments differ, by names."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def lines(self) -> list[str]:
        signs = (("+", self.added), ("-", self.removed), ("~", self.changed))
        return [f"{sign} {name}" for sign, names in signs for name in names]

    def in_words(self) -> str:
        kinds = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        said = [f"{kind} {', '.join(names)}" for kind, names in kinds if names]
        return "; ".join(said) or "unchanged"


def parse(text: str) -> Dotenv:
    values: dict[str, str] = {}
    wrong: list[int] = []
    interpolated: dict[str, None] = {}
    # Windows' mark at the beginning is nothing to Compose, too.
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    number = 0
    while number < len(lines):
        line, first = lines[number], number + 1
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            wrong.append(first)
            continue
        name, raw = match[1], match[2]
        if pattern := _QUOTED.get(raw[:1]):
            # A value in quotes may go on over several lines: a certificate, a key.
            quoted, end = pattern.match(raw), number
            while not quoted and end < len(lines):
                raw = f"{raw}\n{lines[end]}"
                end += 1
                quoted = pattern.match(raw)
            if quoted is None:
                wrong.append(first)
                continue
            number, value = end, quoted[1]
        else:
            value = _COMMENT.sub("", raw).strip()
        values[name] = value
        interpolated.pop(name, None)
        if "$" in (meant := value.replace("$$", "")) and raw[:1] != "'":
            interpolated[name] = None
            if _NOT_WHOLE.search(meant):
                wrong.append(first)
    return Dotenv(values, tuple(wrong), tuple(interpolated))


def read_example(text: str) -> Example:
    required = tuple(name for name, value in parse(text).values.items() if not value)
    return Example(required, frozenset(_DESCRIBED.findall(text)))


def compare(old: Dotenv, new: Dotenv) -> Changes:
    """What `new` adds to `old`, takes away and changes, in alphabetical order."""
    return compare_values(old.values, new.values)


def compare_values(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(n for n in before.keys() & after.keys() if before[n] != after[n])),
    )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Set values in a text where it has their names, also commented out; else at its end.

    Args:
        values: without line breaks and quotes, which nothing that is filled in has.
    """
    left = dict(values)
    lines = []
    for line in text.split("\n"):
        match = _DESCRIBED.match(line)
        if match and match[1] in left:
            lines.append(f"{match[1]}={left.pop(match[1])}")
        else:
            lines.append(line)
    if left:
        while lines and not lines[-1]:
            lines.pop()
        lines += [*(f"{name}={value}" for name, value in left.items()), ""]
    return "\n".join(lines)
