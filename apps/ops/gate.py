"""The gate to every terminal and log: what others wrote is shown there, and never obeyed.

Control characters, and those that are invisible or turn text round, are written out (`\\x1b`,
`\\u202e`), line breaks within a line, too. Our own colours are added behind the gate.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ABOVE_SPACE = (
    r"\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
# It joins emoji, and letters in India.
_JOINER = r"(?<![\u0900-\u0dff\u2190-\U0010ffff])\u200d"
_NOT_IN_JSON = re.compile(f"[{_ABOVE_SPACE}]|{_JOINER}")
_HOSTILE = re.compile(rf"[\x00-\x08\x0a-\x1f{_ABOVE_SPACE}]|{_JOINER}")


def shown(text: str) -> str:
    """One line."""
    if text.isascii() and text.isprintable():
        return text
    return _HOSTILE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# What our own presenters on a server write to a terminal: colours, a line drawn again, the cursor
# hidden, what a prompt needs.
_DRAWN = r"\x1b\[(?:[0-9;]{0,32}[ABCDGHJKm]|\?(?:25|2004)[hl])"
_DRAWN_OR_HOSTILE = re.compile(rf"({_DRAWN}|[\n\r\b])|{_HOSTILE.pattern}")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]{0,32})?\Z")


def drawn(text: str) -> str:
    """What a terminal on a server was sent: nothing in it but lines drawn by us."""
    return _DRAWN_OR_HOSTILE.sub(lambda match: match[1] or shown(match[0]), text)


def unfinished(text: str) -> int:
    """Where a sequence begins that may go on in what comes next; the text's length if none does."""
    match = _UNFINISHED.search(text)
    return match.start() if match else len(text)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """The same in JSON's own notation: whoever reads it gets every character."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)
