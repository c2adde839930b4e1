"""How Caddy's container is created."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.ops.conf import OpsSettings
from apps.ops.edge import follow
from apps.ops.errors import Refused
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from tests.integration.ops.front_door import ROOT

FILE = ROOT / "compose.prod.yml"
DOTENV = "SITE_HOST=example.org\nPOSTGRES_PASSWORD=p\nCOMPOSE_PROJECT_NAME=changeover\n"
On = Callable[[str], Compose]


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """The project's own compose file, on a `.env` with these lines."""
    for name in ("SITE_HOST", "SITE_SCHEME", "HTTP_BIND", "HTTPS_BIND"):
        monkeypatch.delenv(name, raising=False)

    def on(lines: str) -> Compose:
        (tmp_path / ".env").write_text(DOTENV + lines)
        return Compose("changeover", tmp_path, (FILE,))

    return on


@pytest.mark.parametrize("variables", [{"site_hosts": ("a_b",)}, {"trusted_proxies": ("cdn",)}])
def test_caddy_is_not_created_anew_with_what_it_would_not_start_with(
    on: On, variables: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(Refused, match="Traffic is where it was"):
        follow.recreate(OpsSettings(**variables), Engine("changeover"), on(""), say=print)


@pytest.mark.parametrize(
    ("lines", "published"),
    [
        ("", {("", "80"), ("", "443")}),
        ("HTTP_BIND=127.0.0.1:8080\nHTTPS_BIND=8443\n", {("127.0.0.1", "8080"), ("", "8443")}),
        ("HTTP_BIND=[::1]:8080\n", {("::1", "8080"), ("", "443")}),
        ("HTTP_BIND=192.0.2.1:80\n", {("192.0.2.1", "80"), ("", "443")}),
    ],
)
def test_ports_are_published_for_ipv4_and_ipv6_unless_an_address_is_named(
    on: On, tmp_path: Path, lines: str, published: set[tuple[str, str]]
) -> None:
    """Without an address Docker takes both, as far as the machine has them."""
    on(lines)
    said = subprocess.run(
        ["docker", "compose", "--project-directory", str(tmp_path), "--file", str(FILE)]
        + ["config", "--format", "json"],
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout
    ports = json.loads(said)["services"]["caddy"]["ports"]

    assert {(port.get("host_ip", ""), port["published"]) for port in ports} == published
