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
                return _answer(request, {}, ok=True)
            case "/health/ready":
                checks = readiness.check()
                ok = all(said == "ok" for said in checks.values())
                return _answer(request, {"checks": checks}, ok=ok)
            case _:
                return self.get_response(request)


def _answer(request: HttpRequest, body: dict[str, object], *, ok: bool) -> HttpResponse:
    who = {"release": settings.RELEASE, "color": settings.COLOR} if _may_know(request) else {}
    response = JsonResponse(
        {"status": "ok" if ok else "unavailable", **who, **body},
        status=200 if ok else 503,
    )
    response["Cache-Control"] = "no-store"
    return response


class ReleaseHeaderMiddleware:
    """`X-Release` and `X-Color`, by which a deploy proves who answers."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if _may_know(request):
            response["X-Release"] = settings.RELEASE
            response["X-Color"] = settings.COLOR
        return response


def _may_know(request: HttpRequest) -> bool:
    """Whether to say which commit this is: not to visitors. Caddy tells them from a preview and
    from those who ask at the probe address or at ours (docker/caddy/Caddyfile, EXPOSE_RELEASE).
    """
    return request.headers.get("X-Expose-Release", "true").lower() == "true"


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
