"""Where a request came from."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """The visitor's address, as far as Caddy knows it; "" when nobody does.

    Caddy lets a `X-Forwarded-For` pass from the CDN only, and puts whom it talked to at its end:
    before that stands what the CDN put there. What a visitor made up is further to the left.
    """
    said = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")[-2:]
    for candidate in (said[0].strip(), request.META.get("REMOTE_ADDR", "")):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return ""


def group_of(address: str) -> str:
    """What one visitor can call their own: of IPv6 the network that a provider gives to each."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return address
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))
