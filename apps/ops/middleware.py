"""Health answers and the release headers, ahead of everything that could get in their way."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.ops import readiness, security_log
from apps.ops.visitor import address_of

Handler = Callable[[HttpRequest], HttpResponse]


class HealthMiddleware:
    """`/health/live` (no I/O: this process answers) and `/health/ready` (it can serve requests).

    It stands before the Host check and the redirect to HTTPS, because those who ask are on the
    stack's own network and use the container's address.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match request.path:
            case "/health/live":
                return _answer({}, ok=True)
            case "/health/ready":
                checks = readiness.check()
                return _answer({"checks": checks}, ok=all(said == "ok" for said in checks.values()))
            case _:
                return self.get_response(request)


def _answer(body: dict[str, object], *, ok: bool) -> HttpResponse:
    who = {"release": settings.RELEASE, "color": settings.COLOR}
    response = JsonResponse(
        {"status": "ok" if ok else "unavailable", **who, **body},
        status=200 if ok else 503,
    )
    response["Cache-Control"] = "no-store"
    return response


class ReleaseHeaderMiddleware:
    """`X-Release` and `X-Color` on every response: how a deploy proves who answers."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["X-Release"] = settings.RELEASE
        response["X-Color"] = settings.COLOR
        return response


class SecurityLogMiddleware:
    """Logs that somebody who is logged in was denied a page."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if isinstance(exception, PermissionDenied) and request.user.is_authenticated:
            security_log.record(
                security_log.Event.DENIED,
                username=request.user.get_username(),
                address=address_of(request),
                detail=f"{request.method} {request.path}",
            )
