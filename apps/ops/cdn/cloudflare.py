"""A client of Cloudflare's API v4, for purging and for what has to be known before it.

Own and small on purpose: the official one brings more than a hundred megabytes for one POST.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from apps.ops.cdn.answers import CdnAway, CdnRefused, Later, result_of, shown
from apps.ops.deadlines import within
from apps.ops.errors import OpsError
from apps.ops.processes import Say

# One request, its name looked up and its answer read to the end.
REQUEST_SECONDS = 20.0
# What a request that is on its way gets when we are asked to stop: its answer says whether it was
# taken.
GRACE_SECONDS = 5.0
# How often one request may fail before Cloudflare counts as away. A 429 is no failure: it is obeyed
# until the deadline.
ATTEMPTS = 6
FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0
MAX_ANSWER = 1_000_000
AGAIN = "manage.py purge_cache --check   # later; see https://www.cloudflarestatus.com/"

_ID = re.compile(r"[0-9a-f]{32}")
_TOKEN = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Zone:
    """`name` is "" when only the id is known."""

    id: str
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.id


class Cloudflare:
    """Talks to the API until a deadline, which all its calls share.

    A call that meets 429, 5xx, a lost connection or no answer is tried again: after what
    Retry-After says, or after a wait that doubles.

    Args:
        token: an API token with the permission Cache Purge; it is never in what is said or raised.
        api: the API's address.
        seconds: for everything.
        stop: once it is set, no further request is sent.
        say: is told about each wait.
        first_wait: seconds before the second try of a request.

    Raises:
        OpsError: the token or the address cannot be used.
    """

    def __init__(
        self,
        *,
        token: str,
        api: str,
        seconds: float,
        stop: Event | None = None,
        say: Say = lambda line: None,
        first_wait: float = FIRST_WAIT_SECONDS,
    ) -> None:
        _require_usable(token, api)
        self._token = token
        self._api = api.rstrip("/")
        self._deadline = monotonic() + seconds
        self._stop = stop or Event()
        self._say = say
        self._first_wait = first_wait
        self._session = _session()

    def zone(self, name_or_id: str) -> Zone:
        """The zone with this name or id. An id is believed: a token that may only purge cannot look
        it up.

        Raises:
            OpsError: there is no such zone, or it cannot be looked up.
        """
        wanted = name_or_id.strip().lower().rstrip(".")
        if _ID.fullmatch(wanted):
            return Zone(wanted)
        if not _NAME.fullmatch(wanted):
            raise OpsError(
                f"{wanted!r} is neither the name nor the id of a zone."
                if wanted
                else "No zone is set.",
                next="set OPS_CLOUDFLARE_ZONE in .env; then: manage.py purge_cache --check",
            )
        by_id = "set OPS_CLOUDFLARE_ZONE in .env to the zone's id, which its overview page shows"
        try:
            found = self._call("GET", "/zones", params={"name": wanted})
        except CdnRefused as error:
            if error.status == HTTPStatus.FORBIDDEN:
                error.next = f"{by_id}: this token may not look up names"
            raise
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        ids = {str(row.get("id")) for row in rows if row.get("name") == wanted}
        if len(ids) == 1 and _ID.fullmatch(only := ids.pop()):
            return Zone(only, wanted)
        raise OpsError(
            f"{len(ids)} zones are called {wanted}."
            if len(ids) > 1
            else f"This token sees no zone {wanted}: there is none, or it may not look it up.",
            next=by_id,
        )

    def purge(self, zone: Zone, kind: str, values: Sequence[str]) -> None:
        """Purge what one request can take; "success" means that it was accepted.

        Args:
            kind: files, prefixes, hosts, tags; or purge_everything, which takes no values.

        Raises:
            CdnRefused: Cloudflare said no.
            CdnAway: no answer came that counts; whether it was purged is not known.
        """
        body = {kind: list(values) if values else True}
        self._call("POST", f"/zones/{zone.id}/purge_cache", body=body)

    def check(self, name_or_id: str) -> tuple[Zone, str]:
        """See that the token is good, that the zone exists, and that it may be purged. Purges
        nothing.

        Returns:
            The zone, and what Cloudflare says of the token ("active").

        Raises:
            OpsError: one of them is not so.
        """
        unverified: CdnRefused | None = None
        status: object = "active"
        try:
            result = self._call("GET", "/user/tokens/verify")
            status = result.get("status") if isinstance(result, dict) else None
        except CdnRefused as error:
            # An account's token is verified elsewhere; that it may purge is what counts.
            unverified = error
        try:
            zone = self.zone(name_or_id)
            self._require_permission(zone)
        except CdnRefused as error:
            raise unverified or error from None
        return zone, shown(status or "unknown", token=self._token)

    def _require_permission(self, zone: Zone) -> None:
        """Ask to purge nothing: that is refused for its content only to those who may purge."""
        try:
            self._call("POST", f"/zones/{zone.id}/purge_cache", body={})
        except CdnRefused as error:
            if not error.is_about_request:
                raise

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """One request, tried until it is answered.

        Returns:
            The `result` of the answer.
        """
        failed, wait = 0, self._first_wait
        while True:
            self._require_going_on()
            try:
                return self._ask(method, path, params, body)
            except Later as later:
                failed += not later.limited
                if failed == ATTEMPTS:
                    raise CdnAway(
                        f"{later.found}, {ATTEMPTS} times.",
                        next=AGAIN,
                    ) from None
                asked = later.wait or 0.0
                # What is under a second may be meant to keep us busy.
                self._wait(later, asked if asked >= 1 else max(asked, wait))
                wait = min(wait * 2, MAX_WAIT_SECONDS)

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        session = self._session

        def send() -> tuple[int, Mapping[str, str], bytes]:
            with session.request(
                method,
                self._api + path,
                params=params,
                json=body,
                auth=_Bearer(self._token),
                timeout=REQUEST_SECONDS,
                # The token is for this address and no other.
                allow_redirects=False,
                stream=True,
            ) as answer:
                # As it comes: a small answer may not unpack into a huge one.
                content = answer.raw.read(MAX_ANSWER + 1, decode_content=False)
                return answer.status_code, answer.headers, content

        left = max(self._deadline - monotonic(), 0.1)
        try:
            status, headers, content = within(
                min(REQUEST_SECONDS, left), send, stop=self._stop, grace=GRACE_SECONDS
            )
        except TimeoutError:
            self._session = _session()
            raise Later("Cloudflare does not answer in time") from None
        except (requests.RequestException, HTTPError, OSError) as error:
            self._session = _session()
            raise Later(f"Cloudflare cannot be reached ({_reason(error)})") from None
        if len(content) > MAX_ANSWER:
            self._session = _session()
            raise Later("Cloudflare's answer is too long to be one")
        return result_of(status, headers, content, token=self._token)

    def _wait(self, later: Later, seconds: float) -> None:
        if monotonic() + seconds >= self._deadline:
            raise CdnAway(
                f"{later.found}, and the time for this purge is up before the next try, in "
                f"{seconds:.0f} s.",
                next=AGAIN,
            )
        self._say(f"{later.found}; trying again in {seconds:.3g} s.")
        self._stop.wait(seconds)

    def _require_going_on(self) -> None:
        if self._stop.is_set():
            raise CdnAway("It was asked to stop.", next=AGAIN)
        if monotonic() >= self._deadline:
            raise CdnAway("The time for this purge is up.", next=AGAIN)


class _Bearer(AuthBase):
    """As `auth`, because a ~/.netrc would replace a header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _session() -> requests.Session:
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "changeover"})
    return session


def _require_usable(token: str, api: str) -> None:
    """Raises OpsError, without the token."""
    if not _TOKEN.fullmatch(token):
        raise OpsError(
            "OPS_CLOUDFLARE_TOKEN has characters that no token has."
            if token
            else "No token for Cloudflare is set.",
            next="set OPS_CLOUDFLARE_TOKEN in .env; then: manage.py purge_cache --check",
        )
    try:
        parts = urlsplit(api)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.username:
        raise OpsError(
            "OPS_CLOUDFLARE_API is no address of an API.",
            next="leave it out, or set it to https://api.cloudflare.com/client/v4",
        )
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise OpsError(
            "OPS_CLOUDFLARE_API is not https: everybody on the way would read the token.",
            next="leave it out, or set it to https://api.cloudflare.com/client/v4",
        )


def _reason(error: BaseException) -> str:
    """The system's own word in a stack of wrapped errors."""
    deepest: BaseException | None = error
    word = type(error).__name__
    while deepest is not None:
        if isinstance(deepest, OSError) and deepest.strerror:
            word = deepest.strerror
        deepest = deepest.__cause__ or deepest.__context__
    return word
