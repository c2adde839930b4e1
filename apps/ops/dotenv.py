"""The text of a `.env` file: read as Compose reads it, compared by its names, filled in.

Compose reads the project's `.env` and a service's `env_file` by the same rules
(compose-spec/compose-go, dotenv); tests hold these to what Compose itself answers. Nothing in here
puts a value into a message.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from apps.ops.interpolation import expand, has_variable

_DESCRIBED = re.compile(r"^#?[ \t]*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=", re.MULTILINE)
# Blanks within a line and at its end, as Go has them.
_BLANK = "\t\v\f\r \x85\xa0"
_WHITE = (
    f"{_BLANK}\n\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_BLANKS, _WHITES = re.compile(f"[{_BLANK}]+"), re.compile(f"[{_WHITE}]+")
_EXPORT = re.compile(r"export(?=[\t\n\f\r ])")
_QUOTED = {q: re.compile(rf"{q}((?:[^{q}\\]|\\.)*){q}", re.DOTALL) for q in "'\""}
_ESCAPED = re.compile(r"\\(?:[abcfnrtv$\"\\]|0[0-9]{0,3})")
_ESCAPES = {r"\a": "\a", r"\b": "\b", r"\f": "\f", r"\n": "\n", r"\r": "\r", r"\t": "\t"}
_ESCAPES |= {r"\v": "\v", r"\"": '"', "\\\\": "\\", r"\$": "$$"}
_OCTAL = re.compile(r"[0-3][0-7]{2}")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Dotenv:
    """What a `.env` file says.

    Attributes:
        values: by name; of a name that is set twice the last one, as Compose does.
        wrong: the numbers of the lines at which Compose refuses the file, or makes of it what no
            container can be given.
        bare: names of lines without a "=", by their numbers: they have the value that the shell
            gives. They may be anything: a line of a key.
        interpolated: names whose value has a "$" that Compose takes for a variable.
        written: their values before that.
    """

    values: Mapping[str, str]
    wrong: tuple[int, ...]
    bare: Mapping[int, str]
    interpolated: tuple[str, ...]
    written: Mapping[str, str]


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
        return [n for n in given.values if not self.has(n)]

    def has(self, name: str) -> bool:
        return not self.known.isdisjoint((name, name.removesuffix("_FILE")))


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


def of_file(path: Path, known: Mapping[str, str] = _NOTHING) -> Dotenv:
    """What a file says; nothing, where it is not there or cannot be read."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        text = ""
    return parse(text, known)


def parse(text: str, known: Mapping[str, str] = _NOTHING) -> Dotenv:
    """
    Args:
        known: the environment of the shell that asks Compose.
    """
    reading = _Reading(text.removeprefix("\ufeff"), known)
    reading.all()
    return Dotenv(
        reading.values,
        tuple(reading.wrong),
        reading.bare,
        tuple(reading.written),
        reading.written,
    )


class _Reading:
    """Goes through a text, a statement at a time. Compose ends at the first that is none; here it
    is noted, and the next line is looked at."""

    def __init__(self, text: str, known: Mapping[str, str]) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._known = known
        self.values: dict[str, str] = {}
        self.wrong: list[int] = []
        self.bare: dict[int, str] = {}
        self.written: dict[str, str] = {}

    def all(self) -> None:
        while self._to_statement():
            begun = self._at
            try:
                self._statement()
            except (ValueError, RecursionError):
                self.wrong.append(self._line_of(begun))
                self._at = self._end_of_line(begun)

    def _to_statement(self) -> bool:
        self._skip(_WHITES)
        while self._text.startswith("#", self._at):
            self._at = self._end_of_line(self._at)
            self._skip(_WHITES)
        return self._at < len(self._text)

    def _statement(self) -> None:
        begun = self._at
        if _EXPORT.match(self._text, self._at):
            self._at += len("export")
            self._skip(_BLANKS)
        name, end = self._name()
        if end == "\n":
            self.bare[self._line_of(begun)] = name
            if name in self._known:
                self.values[name] = self._known[name]
            return
        if not name:
            raise ValueError
        self._skip(_BLANKS)
        value, is_literal = self._value()
        self.written.pop(name, None)
        if not is_literal and has_variable(value):
            self.written[name] = value
        self.values[name] = value if is_literal else expand(value, self._lookup)

    def _name(self) -> tuple[str, str]:
        """The name that begins here, and what ends it; goes behind that."""
        begun = self._at
        for at in range(begun, len(self._text)):
            char = self._text[at]
            if char in "=:\n":
                break
            is_of_name = char in "_.-[]" or unicodedata.category(char)[0] in "LN"
            if not is_of_name and char not in _BLANK:
                raise ValueError
        else:
            # Without a line's end Compose takes it for a value that has no name.
            raise ValueError
        name = self._text[begun:at].rstrip(_WHITE)
        if " " in name:
            raise ValueError
        self._at = at + 1
        return name, char

    def _value(self) -> tuple[str, bool]:
        """The value that begins here, and whether a "$" in it is one; goes behind it."""
        pattern = _QUOTED.get(self._text[self._at : self._at + 1])
        if pattern is None:
            end = self._end_of_line(self._at)
            value = self._text[self._at : end].partition(" #")[0].rstrip(_WHITE)
            self._at = end
            return value, False
        quoted = pattern.match(self._text, self._at)
        if quoted is None:
            raise ValueError
        self._at = quoted.end()
        quote = quoted[0][0]
        value = _without_escapes_of(quote, quoted[1])
        return (value, True) if quote == "'" else (_ESCAPED.sub(_escape, value), False)

    def _lookup(self, name: str) -> str | None:
        return self._known.get(name, self.values.get(name))

    def _line_of(self, at: int) -> int:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def _skip(self, what: re.Pattern[str]) -> None:
        if found := what.match(self._text, self._at):
            self._at = found.end()

    def _end_of_line(self, begun: int) -> int:
        end = self._text.find("\n", begun)
        return len(self._text) if end < 0 else end


def _without_escapes_of(quote: str, text: str) -> str:
    return re.sub(r"\\(.)", lambda m: quote if m[1] == quote else m[0], text, flags=re.DOTALL)


def _escape(match: re.Match[str]) -> str:
    if match[0].startswith(r"\0"):
        digits = match[0][2:]
        return chr(int(digits, 8)) if _OCTAL.fullmatch(digits) else f"\\{digits}"
    return _ESCAPES.get(match[0], match[0])


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
