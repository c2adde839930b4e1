"""What can be purged, checked before anything is sent, and cut into requests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, quote, urlsplit

from apps.ops.errors import Refused

# The most that a request may purge, on every plan:
# https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits (July 2026).
# Single files once were 30 a request; prefixes, hosts and tags were for Enterprise until 2025.
MAX_OPERATIONS = 100
# https://developers.cloudflare.com/cache/how-to/purge-cache/purge_by_prefix/#limitations
MAX_SEPARATORS = 31
MAX_LENGTH = 2048
MAX_TAG = 1024

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_-]{1,63})*")
_TAG = re.compile(r"[!-+\--~]+")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Kind(StrEnum):
    """As the API names them."""

    EVERYTHING = "purge_everything"
    URL = "files"
    PREFIX = "prefixes"
    HOST = "hosts"
    TAG = "tags"


OPTIONS = {
    Kind.EVERYTHING: "--everything",
    Kind.URL: "--url",
    Kind.PREFIX: "--prefix",
    Kind.HOST: "--host",
    Kind.TAG: "--tag",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """`value` is "" for EVERYTHING."""

    kind: Kind
    value: str = ""

    @property
    def argument(self) -> str:
        """As purge_cache takes it."""
        option = OPTIONS[self.kind]
        return f"{option}={self.value}" if self.value else option

    @property
    def words(self) -> str:
        """As a shell takes it."""
        option = OPTIONS[self.kind]
        return f"{option} {shlex.quote(self.value)}" if self.value else option

    def __str__(self) -> str:
        return f"{OPTIONS[self.kind].removeprefix('--')} {self.value}".strip()


EVERYTHING = Operation(Kind.EVERYTHING)


def url(text: str) -> Operation:
    """One address, as visitors' browsers send it: what is not ASCII is percent-encoded.

    Raises:
        Refused: it is no address of a page or a file.
    """
    parts = _split(
        text, f"{text!r} is no address.", 'write it like "https://www.example.org/a.css"'
    )
    if parts.scheme not in ("http", "https"):
        raise Refused(
            f"{text!r} is no absolute http or https address.",
            next='write it like "https://www.example.org/a.css"',
        )
    if parts.fragment:
        raise Refused(f"{text!r} has a part after #, which no server sees.", next="leave it out")
    path, query = quote(parts.path or "/", safe=_ASCII), quote(parts.query, safe=_ASCII)
    address = f"{parts.scheme}://{_netloc(parts, text)}{path}{f'?{query}' if query else ''}"
    return Operation(Kind.URL, address)


def prefix(text: str) -> Operation:
    """Everything whose address begins so: a host with a path. A scheme is taken off.

    Raises:
        Refused: it is no such prefix.
    """
    advice = 'write it like "www.example.org/static/"'
    bare = re.sub(r"^https?://", "", text, flags=re.IGNORECASE)
    parts = _split(f"https://{bare}", f"{text!r} is no prefix of addresses.", advice)
    if parts.query or parts.fragment or "?" in bare or "#" in bare:
        raise Refused(f"The prefix {text!r} ends at its path: no ? and no #.", next=advice)
    value = f"{_netloc(parts, text)}{quote(parts.path, safe=_ASCII)}"
    if value.count("/") > MAX_SEPARATORS:
        raise Refused(
            f"The prefix {text!r} has more than {MAX_SEPARATORS} slashes.",
            next="purge a shorter one",
        )
    return Operation(Kind.PREFIX, value)


def host(text: str) -> Operation:
    """All of a host.

    Raises:
        Refused: it is no host's name.
    """
    return Operation(Kind.HOST, _host(text, text))


def tag(text: str) -> Operation:
    """All answers that came with this Cache-Tag.

    Raises:
        Refused: it is no tag.
    """
    if not _TAG.fullmatch(text) or len(text) > MAX_TAG:
        raise Refused(
            f"{text[:80]!r} is no tag: at most {MAX_TAG} printable ASCII characters without spaces "
            "and commas.",
            next="give each tag with a --tag of its own",
        )
    return Operation(Kind.TAG, text)


def batches(operations: Iterable[Operation]) -> Iterator[Sequence[Operation]]:
    """As requests take them: one kind each, MAX_OPERATIONS at most, none twice."""
    unique = list(dict.fromkeys(operations))
    for kind in Kind:
        of_kind = [operation for operation in unique if operation.kind is kind]
        for start in range(0, len(of_kind), MAX_OPERATIONS):
            yield of_kind[start : start + MAX_OPERATIONS]


def _split(text: str, found: str, advice: str) -> SplitResult:
    # Before urlsplit, which drops tabs and newlines without a word.
    if not text.isprintable() or " " in text:
        raise Refused(f"{text[:80]!r} has a space or a control character in it.", next=advice)
    if len(text) > MAX_LENGTH:
        raise Refused(
            f"{text[:80]!r}… is longer than {MAX_LENGTH} characters.",
            next="purge a --prefix of it instead",
        )
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise Refused(found, next=advice)
    if parts.username is not None:
        raise Refused(
            f"The address on {parts.hostname} has a user's name in it.", next="leave it out"
        )
    return parts


def _netloc(parts: SplitResult, text: str) -> str:
    name = _host(parts.hostname or "", text)
    return f"{name}:{parts.port}" if parts.port else name


def _host(name: str, text: str) -> str:
    try:
        known = name.encode("idna").decode().lower() if name else ""
    except UnicodeError:
        known = ""
    if not _HOST.fullmatch(known):
        raise Refused(
            f"{text[:80]!r} has no host's name that could be one.",
            next='write a host like "www.example.org"',
        )
    return known
