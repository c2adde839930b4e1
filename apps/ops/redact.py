"""Secrets are taken out of everything that is shown or stored."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote, urlsplit

from apps.ops.dotenv import parse
from apps.ops.errors import OpsError

HIDDEN = "•••"
# Shorter values ("yes", "1") stand in too many innocent lines.
MIN_LENGTH = 6
# So much of a value's beginning or end is recognized where a line was cut or wrapped.
PIECE = 10
# A shorter one ("/health") is no secret.
SECRET_PATH = 16
LINE_LENGTH = 200
_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|_KEY$|DSN"
    r"|WEBHOOK|SLACK|PING_URL"
)
_USERINFO = re.compile(r"://([^\s/\"]+)@")
# What Compose quotes of a `.env` that it cannot read, also of another machine's, whose values are
# not known here. Of a password with a "$" the rest is the name of a variable: real ones are written
# in capitals.
_COMPOSE = (
    re.compile(r'Invalid template: \\?"(.+)"'),
    re.compile(r'invalid interpolation format for [^\s"]+: \\?"(.+)'),
    re.compile(r'in variable name \\?"(.+)"'),
    re.compile(r"unterminated quoted value (.+)"),
    re.compile(r'The \\?"(?![A-Z0-9_]+\\?")(\w+)\\?" variable is not set'),
    re.compile(r"required variable (?![A-Z0-9_]+ )(\w+) is missing a value"),
)
_AROUND = " \t\r…,.:;'\"()[]{}"


class Redactor:
    """Replaces known secret values, user names and passwords in addresses, and what Compose quotes
    of a `.env`.

    A value is also known as it stands in an address, in JSON, in Python's and Compose's notation,
    and where a line was cut or wrapped in its middle. In base64 it is not: there its letters depend
    on what stands before and after it.
    """

    def __init__(self, values: Iterable[str]) -> None:
        known = {form for value in values for form in _forms(value)}
        self._values = {value for value in known if len(value) >= MIN_LENGTH}
        self._long = [value for value in self._values if len(value) > _least_piece(value)]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """Know the values of variables whose names say that they are secret, also of those that are
        read from files, each line and each part of a list; passwords in addresses; and what the
        server's `.env` has, which may be newer than this process."""
        values = set(_secrets(environment))
        if checkout := environment.get("OPS_CHECKOUT"):
            values |= set(_in_dotenv(_contents(f"{checkout}/.env")))
        return cls(values)

    def clean(self, text: str) -> str:
        spans = [match.span(1) for match in _USERINFO.finditer(text)]
        spans += [match.span(1) for form in _COMPOSE for match in form.finditer(text)]
        for value in self._values:
            start = text.find(value)
            while start >= 0:
                spans.append((start, start + len(value)))
                start = text.find(value, start + 1)
        spans += self._pieces(text)
        return _hide(text, sorted(spans))

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

    def _pieces(self, text: str) -> Iterator[tuple[int, int]]:
        """What is left of a value at a line's beginning and end, or is the whole line."""
        begin = 0
        for line in text.split("\n") if self._long else ():
            shown = line.strip(_AROUND)
            at = begin + line.find(shown)
            begin += len(line) + 1
            if len(shown) < PIECE:
                continue
            for value in self._long:
                least = _least_piece(value)
                if len(shown) >= least and shown in value:
                    yield at, at + len(shown)
                    continue
                start = shown.find(value[:least], max(0, len(shown) - len(value)))
                if start >= 0 and value.startswith(shown[start:]):
                    yield at + start, at + len(shown)
                end = shown.rfind(value[-PIECE:], 0, len(value)) + PIECE
                if end >= PIECE and value.endswith(shown[:end]):
                    yield at, at + end


class RedactingFormatter(logging.Formatter):
    """For what a process logs, tracebacks too: Docker keeps it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clean = Redactor.from_environment().clean

    def format(self, record: logging.LogRecord) -> str:
        return self._clean(super().format(record))


def first_line(error: BaseException) -> str:
    """What an error says, without secrets and cut after that: a piece of one is not recognized
    everywhere."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Redactor.from_environment().clean(said)[:LINE_LENGTH]


def _secrets(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        if _SECRET_NAME.search(name.upper().removesuffix("_FILE")):
            secret = _contents(value) if name.endswith("_FILE") else value
            yield from (secret.strip(), *secret.splitlines(), *secret.split(","))
            # Of a webhook's address it is the path that is secret, and that errors show.
            paths = [_split(address).path for address in secret.split(",") if "://" in address]
            yield from (path for path in paths if len(path) >= SECRET_PATH)
        elif "://" in value:
            yield from (_split(address).password for address in value.split(","))


def _in_dotenv(text: str) -> Iterator[str]:
    given = parse(text)
    yield from _secrets(given.values)
    lines = text.splitlines()
    for number in given.wrong:
        # Whatever it is meant to be: a line of a key, a password on its own.
        line = lines[number - 1].strip()
        yield from (line, line.partition("=")[2].strip(" \t'\""))


def _least_piece(value: str) -> int:
    """How many of its characters are a piece of a value: of an address not its host alone."""
    scheme, sign, rest = value.partition("://")
    host = rest.partition("/")[0]
    return len(f"{scheme}{sign}{host}/") + PIECE if sign else PIECE


class _Address(NamedTuple):
    password: str = ""
    path: str = ""


def _split(address: str) -> _Address:
    try:
        parts = urlsplit(address.strip())
        return _Address(parts.password or "", parts.path if parts.scheme.startswith("http") else "")
    except ValueError:
        return _Address()


def _forms(value: str) -> set[str]:
    """A value as it is, and as it is written into other things."""
    escaped = {json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value)}
    quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in quoted}
    return {
        *(value, unquote(value), value.replace("$", "$$")),
        *(form[1:-1] for form in escaped),
        *(quoted | lower),
    }


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
