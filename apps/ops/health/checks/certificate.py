"""The certificates that Caddy shows to visitors: for how much longer are they good?"""

from __future__ import annotations

import socket
import ssl
import tempfile
from time import time
from urllib.parse import urlsplit

from django.conf import settings as django

from apps.ops import names, processes
from apps.ops.conf import OpsSettings
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, Result, Status, bad, good, unknown

LOGS = "docker compose logs --tail 200 caddy | grep -i -E 'certificate|acme|tls'"
HTTPS_PORT = 443
DAY = 86400
# A certificate for six days is renewed long after OPS_HEALTH_CERTIFICATE_DAYS before its end.
LEAST_SHARE = 1 / 5


def look(settings: OpsSettings) -> Result:
    if getattr(django, "SITE_SCHEME", "https") != "https":
        return good("Not used: Caddy serves plain HTTP (SITE_SCHEME).")
    # www. and the colours' names may not be in DNS; what .env names itself should.
    found = [_look_at(settings, name) for name in (*names.served(settings), *settings.site_aliases)]
    wrong = [result for result in found if result.status is not Status.GOOD]
    return wrong[0] if wrong else min(found, key=lambda result: float(result.figures["days"]))


def _look_at(settings: OpsSettings, host: str) -> Result:
    caddy = urlsplit(f"//{settings.probe_address}").hostname or ""
    try:
        certificate = _served(caddy, host)
    except ssl.SSLError as error:
        return bad(
            f"Caddy shows no certificate for {host} ({error.reason or error}): visitors cannot "
            "come in over HTTPS.",
            next=LOGS,
        )
    except OSError as error:
        return bad(
            f"Nobody answers HTTPS at {caddy}:{HTTPS_PORT} ({error}).",
            next="docker compose ps --all caddy",
        )
    try:
        begins, ends, issuer = _read(certificate)
    except (processes.ProgramFailed, ValueError, KeyError) as error:
        return unknown(f"openssl could not read the certificate of {host} ({error}).", next=LOGS)
    days = (ends - time()) / DAY
    figures: dict[str, Figure] = {"days": round(days, 2), "issuer": issuer}
    if days <= 0:
        return bad(
            f"The certificate of {host} ended {-days:.1f} days ago: browsers turn visitors away.",
            next=LOGS,
            **figures,
        )
    if days < min(settings.health_certificate_days, (ends - begins) / DAY * LEAST_SHARE):
        return bad(
            f"The certificate of {host} ends in {days:.1f} days, and Caddy should have renewed it.",
            next=LOGS,
            **figures,
        )
    return good(f"The certificate of {host} is good for {days:.0f} days ({issuer}).", **figures)


def _served(address: str, host: str) -> bytes:
    """The certificate in DER. It is looked at, not trusted: a CDN before Caddy may well accept one
    that nobody else does, and one that has ended must be seen, too."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((address, HTTPS_PORT), timeout=SECONDS) as line,
        context.wrap_socket(line, server_hostname=host) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def _read(certificate: bytes) -> tuple[float, float, str]:
    """When it begins and ends, in seconds since the epoch, and who issued it."""
    fields = ("-startdate", "-enddate", "-issuer", "-nameopt", "RFC2253")
    with tempfile.TemporaryFile() as file:
        file.write(certificate)
        file.seek(0)
        output = processes.run(
            ["openssl", "x509", "-inform", "DER", "-noout", *fields], seconds=SECONDS, stdin=file
        )
    said = {name: value for name, _, value in (line.partition("=") for line in output.splitlines())}
    begins, ends = (ssl.cert_time_to_seconds(said[name]) for name in ("notBefore", "notAfter"))
    return begins, ends, said["issuer"].strip()
