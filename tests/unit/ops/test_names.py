"""Which names are the site's, and which are none."""

from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from pytest_django import Settings

from apps.ops import names
from apps.ops.conf import OpsSettings

OPS = OpsSettings(
    site_host="example.org",
    site_hosts=("shop.example", "192.0.2.1", "[2001:db8::1]"),
    site_aliases=("example.net", "www.shop.example"),
)


def test_django_knows_what_caddy_passes_on() -> None:
    assert list(names.wrong(OPS)) == []
    assert names.allowed(OPS) == [
        *("example.org", "shop.example", "192.0.2.1", "[2001:db8::1]"),
        *("www.example.org", "blue.example.org", "green.example.org"),
    ]


@pytest.mark.parametrize("variable", ["site_hosts", "site_aliases"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://shop.example", "it has a scheme"),
        ("shop.example/path", "it has a path"),
        ("shop.example:8443", "it has a port"),
        ("ann@shop.example", "it has a user"),
        ("shop.example example.net", "there is a space in it"),
        ("my_shop.example", "no certificate is given to a name with an underscore"),
        ("*.shop.example", "a name that stands for many needs a certificate"),
        ("müller.example", "write it as browsers send it: xn--…"),
        ("shop..example", "its parts are letters, digits and hyphens"),
        ("shop.example.", "its parts are letters, digits and hyphens"),
        ("-shop.example", "its parts are letters, digits and hyphens"),
        ("a" * 64 + ".example", "its parts are letters, digits and hyphens"),
        ("a." * 127 + "example", "its parts are letters, digits and hyphens"),
        ("{$HOME}", "its parts are letters, digits and hyphens"),
        ("2001:db8::1", "it has a port"),
    ],
)
def test_what_is_no_name_is_said_with_what_is_wrong(variable: str, name: str, why: str) -> None:
    (found,) = names.wrong(OpsSettings(**{variable: (name,)}))

    assert found.startswith(f"{variable.upper()} has {name!r}, which is not a name alone ({why}")


@pytest.mark.parametrize(
    "more",
    [
        {"site_hosts": ("example.org",)},
        {"site_hosts": ("shop.example", "Shop.example")},
        {"site_hosts": ("shop.example",), "site_aliases": ("shop.example",)},
        {"site_aliases": ("blue.example.org",)},
    ],
)
def test_a_name_that_stands_twice_is_said(more: dict[str, tuple[str, ...]]) -> None:
    (found,) = names.wrong(OpsSettings(site_host="example.org", **more))

    assert "stands more than once" in found


@pytest.mark.parametrize("proxy", ["private_ranges", "10.0.0.1", "192.0.2.0/24", "2001:db8::/32"])
def test_a_proxy_has_an_address(proxy: str) -> None:
    assert list(names.wrong_proxies(OpsSettings(trusted_proxies=(proxy,)))) == []


@pytest.mark.parametrize("proxy", ["cloudflare", "10.0.0.0/33", "10.0.0", "{", "10.0.0.1:80"])
def test_what_has_none_is_no_proxy(proxy: str) -> None:
    (found,) = names.wrong_proxies(OpsSettings(trusted_proxies=(proxy,)))

    assert found.startswith(f"TRUSTED_PROXIES has {proxy!r}")


@pytest.mark.parametrize("proto", ["https", "http"])
def test_a_form_is_taken_whether_or_not_caddy_was_told_of_https(
    settings: Settings, proto: str
) -> None:
    """Where HTTPS ends in front, browsers send an origin with https."""
    settings.ALLOWED_HOSTS = names.allowed(OPS)
    settings.CSRF_TRUSTED_ORIGINS = names.origins(OPS)
    request = HttpRequest()
    request.META |= {"HTTP_HOST": "shop.example", "HTTP_X_FORWARDED_PROTO": proto}
    check = CsrfViewMiddleware(lambda request: None)  # type: ignore[arg-type, return-value]

    for origin, right in (("https://shop.example", True), ("https://evil.example", False)):
        request.META["HTTP_ORIGIN"] = origin
        assert check._origin_verified(request) is right
