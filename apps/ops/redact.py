"""Secrets are taken out of everything that is shown or stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from apps.ops.errors import OpsError

HIDDEN = "•••"
# Shorter values ("yes", "1") stand in too many innocent lines.
MIN_LENGTH = 6
_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|_KEY$|DSN"
    r"|WEBHOOK|SLACK|PING_URL"
)
_USERINFO = re.compile(r"\b[a-z][a-z0-9+.-]*://([^\s/]+)@", re.IGNORECASE)


class Redactor:
    """Replaces known secret values, and user names and passwords in addresses."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = {value for value in values if len(value) >= MIN_LENGTH}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """Know the values of variables whose names say that they are secret, also of those that are
        read from files, each line and each part of a list."""
        values: set[str] = set()
        for name, value in environment.items():
            if _SECRET_NAME.search(name.upper().removesuffix("_FILE")):
                secret = _contents(value) if name.endswith("_FILE") else value
                values |= {secret.strip(), *secret.splitlines(), *secret.split(",")}
        return cls(values)

    def clean(self, text: str) -> str:
        spans = [match.span(1) for match in _USERINFO.finditer(text)]
        for value in self._values:
            start = text.find(value)
            while start >= 0:
                spans.append((start, start + len(value)))
                start = text.find(value, start + 1)
        return _hide(text, sorted(spans))

    def clean_error(self, error: OpsError) -> None:
        error.found = self.clean(error.found)
        error.output = self.clean(error.output)
        error.next = self.clean(error.next)


def _hide(text: str, spans: list[tuple[int, int]]) -> str:
    parts, shown, hidden = [], 0, -1
    for begin, end in spans:
        # Values can overlap; what they cover together is hidden once.
        if begin > hidden:
            parts += [text[shown:begin], HIDDEN]
        shown = hidden = max(hidden, end)
    return "".join([*parts, text[shown:]])


def _contents(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return ""
