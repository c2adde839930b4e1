"""Asking over HTTP, as one of the site's visitors would: who answers, and how."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, or (status 0) what came instead of one."""

    status: int
    release: str = ""
    color: str = ""
    reason: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.status:
            return self.reason
        who = f" from release {self.release[:12]} ({self.color})" if self.release else ""
        wrong = [
            f"{name}: {said}" for name, said in self.body.get("checks", {}).items() if said != "ok"
        ]
        return f"{self.status} {self.reason}{who}" + (f"; {', '.join(wrong)}" if wrong else "")


def ask(address: str, path: str, *, host: str, token: str = "", seconds: float = SECONDS) -> Answer:
    """GET a path from `address` ("name:port") as `host`, over HTTPS as far as the site can tell.

    Args:
        token: a preview token, or "" to be routed as everybody is.
        seconds: for connecting and for each read.

    Never raises for what the other side does: no answer is an Answer with status 0.
    """
    headers = {"Host": host, "X-Forwarded-Proto": "https", "User-Agent": "changeover"}
    if token:
        headers["X-Preview"] = token
    connection = HTTPConnection(address, timeout=seconds)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        # Only JSON is read: a page without an end must not hold up who asks whether it begins.
        is_json = response.getheader("Content-Type", "") == "application/json"
        return Answer(
            response.status,
            response.getheader("X-Release", ""),
            response.getheader("X-Color", ""),
            response.reason,
            _json(response.read(100_000)) if is_json else {},
        )
    except (OSError, HTTPException) as error:
        return Answer(0, reason=f"no answer ({type(error).__name__}: {error})")
    finally:
        connection.close()


def _json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
