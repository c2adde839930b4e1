"""The values that are secret, and where they stand in a text."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from os.path import exists
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from apps.ops.conf import OpsSettings
from apps.ops.dotenv import parse
from apps.ops.redaction.public import is_public, public_names, sounds_secret
from apps.ops.redaction.readings import plain, readings, unescaped
from apps.ops.redaction.shapes import shapes

Span = tuple[int, int]

# Below this a value is never hidden ("yes", "1"); below the second it is where it stands alone.
SHORTEST = 4
SHORT = 6
# So much of a value that looks random is recognized anywhere: what was cut, wrapped, or split.
PIECE = 8
# Of a value made of words, half of it at its beginning or end, and no less than this.
WORDY_PIECE = 12
# So many characters of a file are read.
MOST = 200_000
# A shorter path of an address ("/health") is no secret.
SECRET_PATH = 16
# Every piece has one of these many characters that begins at a multiple of STEP.
_SAMPLE = 4
_STEP = PIECE - _SAMPLE + 1
_TRIVIAL = {
    *("true", "false", "none", "null", "auto", "debug", "info", "warning", "error", "critical"),
    *("localhost", "production", "staging", "development", "testing", "prod", "test", "default"),
    *(
        "postgres",
        "redis",
        "caddy",
        "django",
        "python",
        "worker",
        "utility",
        "blue",
        "green",
        "live",
    ),
    *(
        "site",
        "smtp",
        "http",
        "https",
        *(v for v in OpsSettings.variables().values() if isinstance(v, str)),
    ),
}
_QUANTITY = re.compile(r"[\d.,:]{1,5}[A-Za-z%]{0,3}")
_WORD = re.compile(r"(?:[A-Z]?[a-z]{1,13}|[A-Z]{1,14}|(?:[A-Z][a-z]{1,13}){2,4})\d{0,2}|\d{1,4}")
_BETWEEN_WORDS = re.compile(r"[^A-Za-z0-9]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]")
# Of a key it is what stands between these that is secret.
_ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]{1,40}-----")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Secret(NamedTuple):
    """`anywhere`: also as a part of a word, which a common word is not looked for in."""

    value: str
    anywhere: bool = True


class Known:
    """Finds values, whole and in pieces, in any of their forms."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._grams: set[str] = set()
        self._base64: set[str] = set()
        self._whole: set[str] = set()
        self._alone: set[str] = set()
        self._wordy: dict[str, int] = {}
        for secret in secrets:
            for form in _forms(secret.value):
                self._learn(form, anywhere=secret.anywhere)
            for form in _in_base64(secret.value) if len(secret.value) >= SHORT else ():
                self._base64 |= self._learn_random(form)
        self._samples = {gram[at : at + _SAMPLE] for gram in self._grams for at in range(_STEP)}

    def spans(self, text: str) -> Iterator[Span]:
        for reading in readings(text) if self._grams or self._whole or self._alone else ():
            for span in self._in(reading.text):
                yield reading.span(*span)

    def _learn(self, form: str, *, anywhere: bool) -> None:
        is_wordy, is_address = _is_wordy(form), _ADDRESS.match(form) is not None
        if len(form) < SHORTEST:
            return
        if len(form) < SHORT or (is_wordy and not anywhere):
            self._alone.add(form)
        elif is_wordy or is_address:
            self._whole.add(form)
        else:
            self._learn_random(form)
        if is_wordy and not is_address and len(form) >= 2 * PIECE:
            self._wordy[form] = max(WORDY_PIECE, len(form) // 2)

    def _learn_random(self, form: str) -> set[str]:
        grams = {form[at : at + PIECE] for at in range(len(form) - PIECE + 1)}
        # "--------" is of many texts.
        telling = {gram for gram in grams if len(set(gram)) > 3}
        self._grams |= telling
        if len(telling) < len(grams) or not grams:
            self._whole.add(form)
        return telling

    def _in(self, text: str) -> Iterator[Span]:
        for at in range(0, len(text) - _SAMPLE + 1, _STEP) if self._grams else ():
            if text[at : at + _SAMPLE] in self._samples:
                for begin in range(max(0, at - _STEP + 1), at + 1):
                    piece = text[begin : begin + PIECE]
                    if piece in self._base64:
                        yield _with_neighbours(text, begin, begin + PIECE)
                    elif piece in self._grams:
                        yield begin, begin + PIECE
        for value in self._whole:
            yield from _found(text, value)
        for value in self._alone:
            for begin, end in _found(text, value):
                if not (_is_in_word(text[begin - 1 : begin]) or _is_in_word(text[end : end + 1])):
                    yield begin, end
        for value, least in self._wordy.items():
            for begin, end in _found(text, value[:least]):
                yield begin, end + _common(text[end : end + len(value)], value[least:])
            for begin, end in _found(text, value[-least:]):
                before = text[max(0, begin - len(value)) : begin]
                yield begin - _common(before[::-1], value[:-least][::-1]), end


def secrets(environment: Mapping[str, str]) -> Iterator[Secret]:
    """What a process was given, and what the server's `.env` has, which may be newer."""
    given = dict(environment)
    texts = [_contents(f"{given[name]}/.env") for name in ("OPS_CHECKOUT",) if given.get(name)]
    files = [parse(text) for text in texts]
    everything = [given, *(v for file in files for v in (file.values, file.written))]
    names = frozenset().union(*(public_names(variables) for variables in everything))
    shown = {v for known in everything for name, v in known.items() if is_public(name, names)}
    for variables in everything:
        for name, value in variables.items():
            yield from _of(name, value, names, shown)
    for text, file in zip(texts, files, strict=True):
        lines = text.split("\n")
        for number in (*file.wrong, *file.bare):
            # Whatever it is meant to be: a line of a key, a password on its own.
            line = lines[number - 1].strip()
            yield from map(Secret, (line, line.partition("=")[2].strip(" \t'\"")))


def _of(name: str, value: str, names: frozenset[str], shown: set[str]) -> Iterator[Secret]:
    from_file = name.endswith("_FILE")
    if is_public(name, names) or (from_file and is_public(name.removesuffix("_FILE"), names)):
        return
    if from_file:
        value = _contents(value)
    certain = sounds_secret(name)
    for part in _parts(value):
        is_certain = certain and len(part) >= SHORT
        if is_certain or not (_is_trivial(part) or part in shown or _is_place(part)):
            yield Secret(part, anywhere=certain or not _is_wordy(part))


def _parts(value: str) -> Iterator[str]:
    """A value, and each of what it is a list of: lines, parts between commas, JSON, settings."""
    value = _ARMOUR.sub("\n", value).strip()
    for part in {*(line.strip() for line in value.splitlines()), *map(str.strip, value.split(","))}:
        yield from _in_address(part) if _ADDRESS.match(part) else [part]
    if not _ADDRESS.match(value):
        yield value
    yield from (value[begin:end] for begin, end in shapes(value))
    if value[:1] in ("{", "["):
        try:
            yield from _texts(json.loads(value))
        except (ValueError, RecursionError):
            return


def _in_address(address: str) -> Iterator[str]:
    """What of an address is secret, beside the whole of it: never its host."""
    try:
        parts = urlsplit(address)
        password = parts.password or ""
    except ValueError:
        yield address
        return
    path = address.partition("://")[2].partition("/")[2]
    is_web = parts.scheme.startswith("http")
    if password or parts.query or (is_web and path):
        yield address
    yield password
    if is_web and len(path) >= SECRET_PATH:
        yield f"/{path}"
        yield parts.path


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield from (value, *value.splitlines())
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)


def _forms(value: str) -> set[str]:
    """A value as it is, and as it is written where no escape tells of it."""
    meant = {value, unquote(value), unescaped(value), value.replace("$$", "$")}
    written = {form.replace("$", "$$") for form in meant} | {
        form.replace(" ", "+") for form in meant
    }
    digits = {form.encode("utf-8", "surrogatepass").hex() for form in meant if len(form) >= SHORT}
    forms = {form for one in meant | written for form in (one, plain(one))}
    return forms | digits | {form.upper() for form in digits}


def _in_base64(value: str) -> Iterator[str]:
    """What does not depend on where it begins in what was encoded; in both alphabets."""
    for form in {value, unquote(value), unescaped(value)}:
        data = form.encode("utf-8", "surrogatepass")
        for before in range(3):
            encoded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
            ends_within = (before + len(data)) % 3 != 0
            core = encoded[(0, 2, 3)[before] : -1 if ends_within else None]
            yield from (core, core.replace("+", "-").replace("/", "_"))


def _with_neighbours(text: str, begin: int, end: int) -> Span:
    """The characters beside it in base64 have some of its bits."""
    begin -= bool(_BASE64.fullmatch(text[max(0, begin - 1) : begin]))
    end += bool(_BASE64.fullmatch(text[end : end + 1]))
    return begin, end


def _is_trivial(value: str) -> bool:
    return value.lower() in _TRIVIAL or _QUANTITY.fullmatch(value) is not None


def _is_place(value: str) -> bool:
    """A path, or a list of paths, of this machine."""
    return value.startswith("/") and "\0" not in value and any(map(exists, value.split(":")))


def _is_wordy(value: str) -> bool:
    return all(_WORD.fullmatch(word) for word in _BETWEEN_WORDS.split(value) if word)


def _is_in_word(c: str) -> bool:
    return c.isalnum() or c in ("_", "-")


def _found(text: str, value: str) -> Iterator[Span]:
    begin = text.find(value)
    while begin >= 0:
        yield begin, begin + len(value)
        begin = text.find(value, begin + 1)


def _common(one: str, other: str) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _contents(path: str) -> str:
    try:
        if not Path(path).is_file():
            return ""
        with Path(path).open() as file:
            return file.read(MOST)
    except (OSError, ValueError):
        return ""
