"""The way of a request to Django: middleware, proxy, the site's name, the paths that prove it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks

from apps.ops import names as names_of_site

MODULE = "apps.ops.middleware"
# What each is there for, said of a project without it.
OURS = {
    f"{MODULE}.ReleaseHeaderMiddleware": "nothing would tell a deployment which release answers",
    f"{MODULE}.HealthMiddleware": "no candidate would ever be ready",
}
# They answer by themselves: they look at the Host, redirect to HTTPS or a language, or have cached.
ANSWERING = (
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
)
FORWARDED_PROTO = ("HTTP_X_FORWARDED_PROTO", "https")


def middleware(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    order = list(settings.MIDDLEWARE)
    answering = [order.index(name) for name in ANSWERING if name in order]
    for name, without_it in OURS.items():
        if name not in order:
            yield checks.Error(
                f"{name} is not in MIDDLEWARE: {without_it}.",
                hint=f'Put "{name}" at the top of MIDDLEWARE.',
                id="ops.E020",
            )
        elif answering and order.index(name) > min(answering):
            yield checks.Error(
                f"{name} stands after {order[min(answering)]} in MIDDLEWARE, which answers some "
                "requests before it.",
                hint=f'Put "{name}" at the top of MIDDLEWARE.',
                id="ops.E021",
            )


def proxy(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    if settings.USE_X_FORWARDED_HOST:
        yield checks.Error(
            "USE_X_FORWARDED_HOST is on: through the CDN anybody can name the site as they like, "
            "in links that it mails too.",
            hint="Take it out: Caddy passes the Host that was asked for.",
            id="ops.E022",
        )
    if settings.SECURE_SSL_REDIRECT and settings.SECURE_PROXY_SSL_HEADER != FORWARDED_PROTO:
        yield checks.Error(
            "SECURE_SSL_REDIRECT is on and SECURE_PROXY_SSL_HEADER is "
            f"{settings.SECURE_PROXY_SSL_HEADER!r}: HTTPS ends at Caddy, so every request would "
            "be redirected to itself for ever.",
            hint=f"Set SECURE_PROXY_SSL_HEADER = {FORWARDED_PROTO!r}.",
            id="ops.E023",
        )


def names(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    for found in names_of_site.wrong(settings.OPS):
        yield checks.Error(
            found,
            hint="Write names without scheme, port and path, like example.org, each once.",
            id="ops.E024",
        )
    for found in names_of_site.wrong_proxies(settings.OPS):
        yield checks.Error(
            found,
            hint="Write private_ranges, or addresses and ranges like 192.0.2.0/24, separated by "
            "commas.",
            id="ops.E026",
        )
    paths = settings.OPS.smoke_paths
    for path in paths:
        if not path.startswith("/"):
            yield checks.Error(
                f'OPS_SMOKE_PATHS names {path!r}, which does not begin with "/": no candidate '
                "could answer it.",
                hint=f"Write /{path} in its place.",
                id="ops.E025",
            )
    if not paths:
        yield checks.Warning(
            "OPS_SMOKE_PATHS names no path: a candidate whose every page fails would go live.",
            hint="Name a page or two that must work, separated by commas; / is the default.",
            id="ops.W005",
        )


def unknown_names(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    known = {name.lower() for name in names_of_site.allowed(settings.OPS)}
    for name in settings.ALLOWED_HOSTS:
        # Without a dot it is one that only the stack itself knows.
        if "." in name and name.lower() not in known:
            yield checks.Warning(
                f"ALLOWED_HOSTS has {name!r}, which Caddy does not serve: it answers 421 to that.",
                hint="Put it into SITE_HOSTS, or into SITE_ALIASES if it is to lead to SITE_HOST.",
                id="ops.W009",
            )
