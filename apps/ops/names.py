"""The names that the site is served under, and those that lead to it.

They are said once, in `.env`, for Caddy (compose.prod.yml) and for Django."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from apps.ops.colors import Color

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings

ANYWHERE_PRIVATE = "private_ranges"  # As Caddy has it.
MAX_LENGTH = 253
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_KNOWN_SIGNS = (
    ("://", "it has a scheme"),
    ("/", "it has a path"),
    ("@", "it has a user"),
    (" ", "there is a space in it"),
    ("_", "no certificate is given to a name with an underscore"),
    ("*", "a name that stands for many needs a certificate that Caddy cannot get by itself"),
    (":", "it has a port"),
)


def served(ops: OpsSettings) -> tuple[str, ...]:
    """Those that show the site; SITE_HOST, whose links are mailed, is the first."""
    return (ops.site_host, *ops.site_hosts)


def allowed(ops: OpsSettings) -> list[str]:
    """Django's ALLOWED_HOSTS."""
    previews = (f"{color}.{ops.site_host}" for color in Color)
    return [*served(ops), f"www.{ops.site_host}", *previews]


def origins(ops: OpsSettings) -> list[str]:
    """Django's CSRF_TRUSTED_ORIGINS: HTTPS may end where nobody tells Caddy of it."""
    return [f"https://{name}" for name in served(ops)]


def wrong(ops: OpsSettings) -> Iterator[str]:
    """What is wrong with the names, a sentence each: Caddy would not start, or nobody answer."""
    variables = {
        "SITE_HOST": (ops.site_host,),
        "SITE_HOSTS": ops.site_hosts,
        "SITE_ALIASES": ops.site_aliases,
    }
    for variable, given in variables.items():
        for name in given:
            if why := _no_name(name, can_have_colons=variable != "SITE_HOST"):
                yield (
                    f"{variable} has {name!r}, which is not a name alone ({why}): neither Caddy "
                    "nor Django would answer for it."
                )
    all_names = [name.lower() for given in variables.values() for name in given]
    all_names += [f"{color}.{ops.site_host.lower()}" for color in Color]
    for name, times in Counter(all_names).items():
        if times > 1:
            yield (
                f"{name} stands more than once in SITE_HOST, SITE_HOSTS and SITE_ALIASES, or is a "
                "colour's own: Caddy would not start."
            )


def wrong_proxies(ops: OpsSettings) -> Iterator[str]:
    """What is wrong with TRUSTED_PROXIES, a sentence each."""
    for proxy in ops.trusted_proxies:
        try:
            if proxy != ANYWHERE_PRIVATE:
                ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            yield f"TRUSTED_PROXIES has {proxy!r}, which is no address: Caddy would not start."


def _no_name(name: str, *, can_have_colons: bool) -> str:
    """Why it is none, half a sentence; "" when it is one.

    Args:
        can_have_colons: it may be an IPv6 address, in brackets. Nothing can stand before one.
    """
    if can_have_colons and _is_ipv6(name):
        return ""
    for sign, why in _KNOWN_SIGNS:
        if sign in name:
            return why
    if not name.isascii():
        return "write it as browsers send it: xn--…"
    if len(name) > MAX_LENGTH or not all(map(_LABEL.fullmatch, name.split("."))):
        return "its parts are letters, digits and hyphens between them, with dots between the parts"
    return ""


def _is_ipv6(name: str) -> bool:
    try:
        ipaddress.IPv6Address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return name.startswith("[") and name.endswith("]")
