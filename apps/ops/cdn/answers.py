"""What Cloudflare's API answers, read without trusting it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from apps.ops.errors import OpsError
from apps.ops.redact import HIDDEN

# Cloudflare's codes for a token that is malformed, wrong or lacks the permission, and for a zone
# that is none. Whatever else is asked for with them is refused, too.
TOKEN_CODES = {1000, 6003, 6111, 9103, 9106, 9107, 9109, 10000, 10001}
ZONE_CODES = {1001, 1049, 7000, 7003}

MAX_TEXT = 300
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u2030-\u2065\u206a-\ud7ff\ue000-\uffef]+")


class CdnAway(OpsError):
    """Cloudflare gave no answer that counts, within the time and the tries that there were."""


class CdnRefused(OpsError):
    """Cloudflare said no.

    Attributes:
        status: the HTTP status.
        codes: the error codes of its answer.
    """

    def __init__(self, found: str, *, status: int, codes: frozenset[int], next: str) -> None:
        super().__init__(found, next=next)
        self.status = status
        self.codes = codes

    @property
    def is_about_request(self) -> bool:
        """It was this request's content: another one may well be taken."""
        return self.status in (
            HTTPStatus.OK,
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ) and not (self.codes & (TOKEN_CODES | ZONE_CODES))


class Later(Exception):
    """Worth another try.

    Attributes:
        wait: seconds that the server asks to wait; None when it does not say.
        limited: it was the rate limit, and not a failure.
    """

    def __init__(self, found: str, *, wait: float | None = None, limited: bool = False) -> None:
        super().__init__(found)
        self.found = found
        self.wait = wait
        self.limited = limited


def result_of(status: int, headers: Mapping[str, str], body: bytes, *, token: str) -> Any:
    """The `result` of an answer that says success.

    Args:
        headers: with names in any case.

    Raises:
        Later: 429, 408, 5xx, or something that is not this API's answer.
        CdnRefused: it said no.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Later(
            "Cloudflare answers 429 (too many requests)",
            wait=_retry_after(headers),
            limited=True,
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        raise Later(f"Cloudflare answers {status}", wait=_retry_after(headers))
    envelope = _envelope(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if envelope is None or not isinstance(envelope.get("success"), bool):
            raise Later(f"What answers {status} is not Cloudflare's API")
        if envelope["success"]:
            return envelope.get("result")
    raise _refused(status, envelope or {}, token)


def shown(text: object, *, token: str) -> str:
    """A stranger's words, fit for a terminal: one line, not long, and never the token."""
    return _UNPRINTABLE.sub(" ", str(text).replace(token, HIDDEN)).strip()[:MAX_TEXT]


def _envelope(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refused(status: int, envelope: Mapping[str, Any], token: str) -> CdnRefused:
    errors = envelope.get("errors")
    said, codes = [], set()
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict):
            code = error.get("code")
            if isinstance(code, int):
                codes.add(code)
            said.append(f"{error.get('message')} (code {code})")
    words = shown("; ".join(said), token=token)
    found = f"Cloudflare refuses with {status}{f': {words}' if words else ''}"
    return CdnRefused(
        found if found.endswith((".", "!")) else f"{found}.",
        status=status,
        codes=frozenset(codes),
        next=_advice(status, codes),
    )


def _advice(status: int, codes: set[int]) -> str:
    is_token = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or codes & TOKEN_CODES
    if codes & ZONE_CODES or (status == HTTPStatus.NOT_FOUND and not codes & TOKEN_CODES):
        return (
            "set OPS_CLOUDFLARE_ZONE in .env to the zone's id; then: manage.py purge_cache --check"
        )
    if is_token:
        return (
            "set OPS_CLOUDFLARE_TOKEN in .env to a token with the permission Cache Purge for this "
            "zone; then: manage.py purge_cache --check"
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return "look at OPS_CLOUDFLARE_API in .env: what answers there is not the API"
    return "fix, or leave out, what Cloudflare does not take"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from seconds or an HTTP date, which is held against the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        at, now = _date(value), _date(headers.get("Date", ""))
        if at is None:
            return None
        seconds = at.timestamp() - (now.timestamp() if now else time.time())
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(value: str) -> datetime | None:
    try:
        return parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
