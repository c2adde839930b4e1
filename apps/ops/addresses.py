"""Addresses with a user and a password in them, read whole or not at all.

Python's own reading takes `smtp://user:p#w@host` for the host `user`, and says a part of the
password where it stumbles.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::(\d{1,5}))?")
_BACKENDS = {
    "smtp": "django.core.mail.backends.smtp.EmailBackend",
    "smtps": "django.core.mail.backends.smtp.EmailBackend",
    "smtp+tls": "django.core.mail.backends.smtp.EmailBackend",
    "smtp+ssl": "django.core.mail.backends.smtp.EmailBackend",
    "consolemail": "django.core.mail.backends.console.EmailBackend",
    "filemail": "django.core.mail.backends.filebased.EmailBackend",
    "memorymail": "django.core.mail.backends.locmem.EmailBackend",
    "dummymail": "django.core.mail.backends.dummy.EmailBackend",
}
_PORTS = {"smtp": 25, "smtps": 587, "smtp+tls": 587, "smtp+ssl": 465}


class Address(NamedTuple):
    scheme: str
    user: str
    password: str
    host: str
    port: int
    path: str
    query: str

    def __repr__(self) -> str:
        return "Address()"  # Not in a traceback.


def read(raw: str, *, default_port: int) -> Address:
    """SCHEME://USER:PASSWORD@HOST:PORT/PATH?QUERY, of which most can be missing.

    Raises:
        ValueError, without a word of it: it is none, or can be read in more than one way: where a
            user or a password has a "/", "?", "#", a blank, or a "%" that encodes nothing.
    """
    parts = _PARTS.fullmatch(raw)
    # An "@" behind the first "/" or "?": then what is before was no host, but half a password.
    if not parts or not raw.isprintable() or " " in raw or "@" in parts[3] + (parts[4] or ""):
        raise ValueError
    login, _, place = parts[2].rpartition("@")
    user, _, password = login.partition(":")
    found = _PLACE.fullmatch(place)
    if not found or int(found[2] or 1) not in range(1, 65536):
        raise ValueError
    return Address(
        scheme=parts[1].lower(),
        user=_decoded(user),
        password=_decoded(password),
        host=found[1].strip("[]"),
        port=int(found[2] or default_port),
        path=parts[3],
        query=parts[4] or "",
    )


def email_settings(raw: str) -> dict[str, Any]:
    """Django's settings for what EMAIL_URL says.

    Raises:
        ValueError: as `read` does; or there is no such way to send mail, or no host.
    """
    scheme = raw.partition("://")[0].lower()
    address = read(raw, default_port=_PORTS.get(scheme, 25))
    is_smtp = scheme in _PORTS
    if scheme not in _BACKENDS or is_smtp != bool(address.host) or address.query:
        raise ValueError
    if scheme != "filemail" and address.path not in ("", "/"):
        raise ValueError
    return {
        "EMAIL_BACKEND": _BACKENDS[scheme],
        "EMAIL_HOST": address.host or "localhost",
        "EMAIL_PORT": address.port,
        "EMAIL_HOST_USER": address.user,
        "EMAIL_HOST_PASSWORD": address.password,
        "EMAIL_USE_TLS": scheme in ("smtps", "smtp+tls"),
        "EMAIL_USE_SSL": scheme == "smtp+ssl",
        "EMAIL_FILE_PATH": _decoded(address.path) or None,
    }


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError
    return unquote(text, errors="strict")
