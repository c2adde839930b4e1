"""Secrets are taken out of everything that is shown or stored."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from apps.ops.errors import OpsError
from apps.ops.gate import shown
from apps.ops.redaction.readings import SEQUENCE_OR_UNSEEN_IN_LINES, resolved
from apps.ops.redaction.shapes import ends_key, may_be_of_a_key, opens_key, shapes
from apps.ops.redaction.values import Known, Secret, Span, secrets

HIDDEN = "•••"
LINE_LENGTH = 200


class Redactor:
    """Replaces known values, and what has the shape of a secret.

    A value is also known encoded, escaped, in pieces, and with what is invisible in its middle. It
    takes time in proportion to the text's length.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._known = Known(map(Secret, values))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """Know each value of a variable that is not named public (`redaction.public`), here and in
        the server's `.env`, which may be newer than this process."""
        redactor = cls([])
        redactor._known = Known(secrets(environment))
        return redactor

    def clean(self, text: str) -> str:
        return _hide(text, sorted(self._spans(text)))

    def clean_after(self, before: str, text: str) -> str:
        """A text whose beginning may be the rest of what `before`, shown already, ends with."""
        size = len(before)
        spans = [(max(begin, size), end) for begin, end in self._spans(before + text) if end > size]
        return _hide(before + text, sorted(spans))[size:]

    def clean_all(self, value: Any) -> Any:
        """The same for every text in a JSON value."""
        match value:
            case str():
                return self.clean(value)
            case list():
                return [self.clean_all(item) for item in value]
            case dict():
                return {key: self.clean_all(item) for key, item in value.items()}
        return value

    def clean_error(self, error: OpsError) -> None:
        error.found = self.clean(error.found)
        error.output = self.clean(error.output)
        error.next = self.clean(error.next)

    def _spans(self, text: str) -> Iterator[Span]:
        yield from self._known.spans(text)
        for one in resolved(text):
            for reading in (one, one.without(SEQUENCE_OR_UNSEEN_IN_LINES)):
                for span in shapes(reading.text):
                    yield reading.span(*span)


class LineByLine:
    """For lines that come one after the other: of a private key each is hidden."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._in_key = False

    def clean(self, line: str) -> str:
        if self._in_key and may_be_of_a_key(line):
            self._in_key = not ends_key(line)
            return HIDDEN
        self._in_key = opens_key(line)
        return self._redactor.clean(line)


class RedactingFormatter(logging.Formatter):
    """For what a process logs, tracebacks too: Docker keeps it. A message is one line; what follows
    it is indented, so that nothing in it is taken for a line of the log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clean = Redactor.from_environment().clean

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return shown(self._clean(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return self._indented(super().formatStack(stack_info))

    def _indented(self, text: str) -> str:
        return "\n".join(f"  {shown(line)}" for line in self._clean(text).split("\n"))


def first_line(error: BaseException) -> str:
    """What an error says, without secrets and cut after that: a piece of one is not recognized
    everywhere."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Redactor.from_environment().clean(said)[:LINE_LENGTH]


def _hide(text: str, spans: list[Span]) -> str:
    parts, shown, hidden = [], 0, -1
    for begin, end in spans:
        # Values can overlap; what they cover together is hidden once a line.
        for start, stop in _lines(text, max(begin, hidden), end):
            if start > hidden:
                parts += [text[shown:start], HIDDEN]
            shown = hidden = max(hidden, stop)
    return "".join([*parts, text[shown:]])


def _lines(text: str, begin: int, end: int) -> Iterator[Span]:
    """The parts of a span between line breaks, which stay."""
    while (at := text.find("\n", begin, end)) >= 0:
        if at > begin:
            yield begin, at
        begin = at + 1
    if end > begin:
        yield begin, end
