"""What the value of a variable can be: what it must be, in words, and how it is read.

Nothing in here puts a value into a message: it may be a secret, or hold a part of one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from apps.ops import addresses


class Kind[T](NamedTuple):
    """`must_be` ends the sentence "NAME must be …"; `read` raises ValueError for what is not that.

    `is_open`: what numbers and switches are, is no secret.
    """

    must_be: str
    read: Callable[[str], T]
    is_open: bool = False


# Beyond these what waits, counts or reckons with dates has no number any more.
MOST = 10**9
MOST_OF = {"_SECONDS": 10**6, "_HOURS": 10**6, "_DAYS": 10**5}
_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False}
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
# What is no character: of a line's end, of a terminal's commands, of a text that is not UTF-8.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _demand(holds: object) -> None:
    if not holds:
        raise ValueError


def _boolean(raw: str) -> bool:
    _demand(raw.lower() in _WORDS)
    return _WORDS[raw.lower()]


def whole(most: int, of: str = "a whole number") -> Kind[int]:
    def read(raw: str) -> int:
        _demand(re.fullmatch(r"[0-9]{1,10}", raw) and int(raw) <= most)
        return int(raw)

    return Kind(f"{of}, from 0 to {most}", read, is_open=True)


def number(most: int) -> Kind[float]:
    def read(raw: str) -> float:
        _demand(_NUMBER.fullmatch(raw) and float(raw) <= most)
        return float(raw)

    return Kind(f"a number, from 0 to {most}", read, is_open=True)


def one_of(*words: str) -> Kind[str]:
    def read(raw: str) -> str:
        _demand(raw in words)
        return raw

    return Kind(" or ".join(words), read)


def _line(raw: str) -> str:
    _demand(not _UNSEEN.search(raw))
    return raw


def _parts(raw: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(_line(part.strip()) for part in raw.split(separator) if part.strip())


def _each(read: Callable[[str], Any]) -> Callable[[str], tuple[str, ...]]:
    def read_all(raw: str) -> tuple[str, ...]:
        parts = _parts(raw)
        for part in parts:
            read(part)
        return parts

    return read_all


def _host(raw: str) -> str:
    _demand(len(raw) <= 253 and _HOST.fullmatch(raw))
    return raw


def _allowed_host(raw: str) -> str:
    if raw != "*" and not _IPV6.fullmatch(raw):
        _host(raw.removeprefix("."))
    return raw


def _origin(raw: str) -> str:
    scheme, _, rest = raw.partition("://")
    host, _, port = rest.partition(":") if not rest.startswith("[") else (rest, "", "")
    _demand(scheme in ("http", "https") and (not port or _port(port)))
    _allowed_host(host.removeprefix("*"))
    return raw


def _port(raw: str) -> int:
    _demand(re.fullmatch(r"[0-9]{1,5}", raw) and 0 < int(raw) < 65536)
    return int(raw)


def _host_and_port(raw: str) -> str:
    host, _, port = raw.rpartition(":")
    _demand(re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host) and _port(port))
    return raw


def _web_address(raw: str) -> str:
    parts = urlsplit(_line(raw))
    _demand(parts.scheme in ("http", "https") and parts.hostname and " " not in raw)
    _demand(parts.port != 0)
    return raw


def _redis(raw: str) -> str:
    address = addresses.read(raw, default_port=6379)
    _demand(address.host if address.scheme in ("redis", "rediss") else address.scheme == "unix")
    _demand(address.scheme == "unix" or re.fullmatch(r"/?\d{0,9}", address.path))
    return raw


def _email(raw: str) -> str:
    addresses.email_settings(raw)
    return raw


def _mailbox(raw: str) -> str:
    before, _, after = _line(raw).partition("@")
    _demand(before and after)
    return raw


def _path(raw: str) -> str:
    _demand(raw.startswith("/") and not re.search(r"\s", _line(raw)))
    return raw


def _time_zone(raw: str) -> str:
    try:
        ZoneInfo(raw)
    except (KeyError, OSError) as error:
        raise ValueError from error
    return raw


def _log_level(raw: str) -> str:
    _demand(raw.upper() in logging.getLevelNamesMapping())
    return raw.upper()


BOOLEAN = Kind("true or false", _boolean, is_open=True)
WHOLE = whole(MOST)
PORT = Kind("the number of a port, from 1 to 65535", _port, is_open=True)
PLACE = Kind("a path, on one line", lambda raw: Path(_line(raw)), is_open=True)
TEXT = Kind("text on one line, without control characters", _line)
ANY = Kind("text", str)
LIST = Kind("a list of texts, with commas between them, on one line", _parts)
FILES = Kind("a list of files, with colons between them", lambda raw: _parts(raw, ":"))
PATHS = Kind('a list of paths, each with a "/" first, with commas between them', _each(_path))
HOST = Kind(
    "the name of a host, like example.org: no scheme, no port, no path, nothing but letters, "
    "digits, dots and hyphens",
    _host,
)
HOST_AND_PORT = Kind("a host and a port, like caddy:2020", _host_and_port)
HOSTS = Kind(
    "a list of host names (.example.org: all below it), with commas between them: no scheme, no "
    "port, no path",
    _each(_allowed_host),
)
ORIGINS = Kind(
    "a list of origins like https://app.example.org, with commas between them: a scheme, a host "
    "and no path",
    _each(_origin),
)
WEB_ADDRESS = Kind("an address that begins with https:// or http://", _web_address)
WEB_ADDRESSES = Kind(
    "a list of addresses that begin with https:// or http://, with commas between them",
    _each(_web_address),
)
REDIS = Kind(
    "an address like redis://redis:6379/0; a password in it is percent-encoded",
    _redis,
)
EMAIL = Kind(
    "smtp://, smtp+tls:// or smtp+ssl://, then USER:PASSWORD@ and HOST:PORT, with each / ? # % and "
    "blank of a password percent-encoded, as this does: "
    "python3 -c 'from urllib.parse import quote; print(quote(input(), safe=\"\"))'",
    _email,
)
MAILBOX = Kind('an address of mail, like ops@example.org or "Ops" <ops@example.org>', _mailbox)
MAILBOXES = Kind(
    "a list of addresses of mail, with commas between them, like ops@example.org", _each(_mailbox)
)
TIME_ZONE = Kind("the name of a time zone, like UTC or Europe/Berlin", _time_zone)
LOG_LEVEL = Kind("DEBUG, INFO, WARNING, ERROR or CRITICAL", _log_level)


def of(name: str, default: Any) -> Kind[Any]:
    """What a variable's value is when nothing is said but its name and its default."""
    if isinstance(default, Path):
        return PLACE
    most = next((most for ending, most in MOST_OF.items() if name.endswith(ending)), MOST)
    kinds: dict[type, Kind[Any]] = {bool: BOOLEAN, str: TEXT, tuple: LIST}
    kinds |= {int: whole(most), float: number(most)}
    return kinds[type(default)]
