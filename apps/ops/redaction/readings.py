"""What a text means to those who read it: without what is invisible, and with escapes resolved.

Each reading knows which part of the text it was made of each of its characters stands for. All
takes time in proportion to the text's length.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Escapes within escapes (JSON in JSON in an address) are resolved this often.
LAYERS = 3

_HEX = "[0-9A-Fa-f]"
# Of bytes above 127, several make one character.
_PERCENT = rf"%[0-7]{_HEX}|(?:%[89A-Fa-f]{_HEX})+"
_BACKSLASH = (
    rf"\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}"
    rf"|\\x[0-7]{_HEX}|(?:\\x[89A-Fa-f]{_HEX})+"
    r"|\\[01][0-7]{2}|(?:\\[23][0-7]{2})+"
    r"|\\[^A-Za-z0-9\n]|\\[abefnrtv0]"
)
_ENTITY = rf"&(?:#[0-9]{{1,7}}|#[xX]{_HEX}{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});"
_QUOTED_PRINTABLE = r"=[0-7][0-9A-F]|(?:=[89A-F][0-9A-F])+"
_SHELL_QUOTE = r"'(?:\"'\"|\\')'"
_EVERY = re.compile(f"{_PERCENT}|{_BACKSLASH}|{_ENTITY}")
# Each with the character without which there is none in a text.
_ESCAPES = [
    ("%", re.compile(_PERCENT)),
    ("\\", re.compile(_BACKSLASH)),
    ("&", re.compile(_ENTITY)),
    ("=", re.compile(_QUOTED_PRINTABLE)),
    ("'", re.compile(_SHELL_QUOTE)),
]
_LETTERS = {
    "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "0": "\0",
}  # fmt: skip

# Control characters, and characters without a width: format characters, joiners, selectors.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# And a line that a mail breaks.
_BREAK = r"=\r?\n"
UNSEEN = re.compile(f"{_BREAK}|[{_UNSEEN}]")
_SEQUENCES = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_SEQUENCE_OR_UNSEEN = re.compile(f"{_SEQUENCES}|{_BREAK}|[{_UNSEEN}]")
SEQUENCE_OR_UNSEEN_IN_LINES = re.compile(f"{_SEQUENCES}|(?!\n)[{_UNSEEN}]")


class _Mark(NamedTuple):
    at: int
    begin: int
    end: int
    is_literal: bool


class Reading:
    def __init__(
        self, text: str, origin: Reading | None = None, marks: list[_Mark] | None = None
    ) -> None:
        self.text = text
        self._origin = origin
        self._marks = marks or []
        self._starts = [mark.at for mark in self._marks]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Where in the very first text these characters (at least one) come from."""
        if self._origin is None:
            return begin, end
        return self._origin.span(self._part(begin)[0], self._part(end - 1)[1])

    def rewritten(self, pattern: re.Pattern[str], meant: Callable[[str], str]) -> Reading:
        """Itself where the pattern is not found."""
        parts: list[str] = []
        marks: list[_Mark] = []
        size = done = 0
        for match in pattern.finditer(self.text):
            begin, end = match.span()
            if begin > done:
                marks.append(_Mark(size, done, begin, is_literal=True))
                parts.append(self.text[done:begin])
                size += begin - done
            if part := meant(match[0]):
                marks.append(_Mark(size, begin, end, is_literal=False))
                parts.append(part)
                size += len(part)
            done = end
        if not done:
            return self
        if done < len(self.text):
            marks.append(_Mark(size, done, len(self.text), is_literal=True))
            parts.append(self.text[done:])
        return Reading("".join(parts), self, marks)

    def without(self, pattern: re.Pattern[str]) -> Reading:
        if self.text.isascii() and self.text.isprintable():
            return self
        return self.rewritten(pattern, lambda _: "")

    def _part(self, at: int) -> tuple[int, int]:
        mark = self._marks[bisect_right(self._starts, at) - 1]
        if mark.is_literal:
            begin = mark.begin + at - mark.at
            return begin, begin + 1
        return mark.begin, mark.end


def resolved(text: str) -> list[Reading]:
    """The text, and what it is with its escapes of each kind resolved, and with those of all."""
    reading = first = Reading(text)
    found = {text: first}
    for sign, escape in _ESCAPES:
        if sign in text:
            other = first.rewritten(escape, _meaning)
            found.setdefault(other.text, other)
    for _ in range(LAYERS if len(found) > 1 else 0):
        reading = reading.rewritten(_EVERY, _meaning)
        found.setdefault(reading.text, reading)
    return list(found.values())


def readings(text: str) -> Iterator[Reading]:
    """Every reading in which a secret is looked for, with and without what is invisible."""
    seen = set()
    for one in resolved(text):
        for reading in (one, one.without(UNSEEN), one.without(_SEQUENCE_OR_UNSEEN)):
            if reading.text not in seen:
                seen.add(reading.text)
                yield reading


def plain(text: str) -> str:
    """Without what is invisible."""
    return UNSEEN.sub("", text)


def unescaped(text: str) -> str:
    """With what a backslash means in JSON, in Python and between double quotes in a `.env`."""
    return _ESCAPES[1][1].sub(lambda match: _meaning(match[0]), text)


def _meaning(escape: str) -> str:
    match escape[0], escape[1:2]:
        case "%" | "=", _:
            return _bytes(bytes.fromhex(escape.replace(escape[0], "")))
        case "&", _:
            return html.unescape(escape)
        case "'", _:
            return "'"
        case _, "x":
            return _bytes(bytes.fromhex(escape.replace("\\x", "")))
        case _, "u" | "U":
            return _code_points(escape)
        case _, letter if len(escape) > 2 and letter in "0123":
            return _bytes(bytes(int(part, 8) for part in escape.split("\\")[1:]))
        case _, letter:
            return _LETTERS.get(letter, letter)


def _bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _code_points(escape: str) -> str:
    codes = [int(part[1:], 16) for part in escape.split("\\")[1:]]
    if len(codes) == 2:
        return chr(0x10000 + ((codes[0] - 0xD800) << 10) + (codes[1] - 0xDC00))
    return chr(codes[0]) if codes[0] < 0x110000 else escape
