"""What the checks say about Caddy and its certificate, with the real one."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.health.checks import certificate, front_door
from apps.ops.health.result import Result, Status
from tests.conftest import OpsSettingsFactory
from tests.integration.ops.front_door import HOST, FrontDoor
from tests.servers import HUNG_SECONDS, free_port, wait_until


@pytest.fixture
def door(caddy: FrontDoor) -> Iterator[FrontDoor]:
    yield caddy
    caddy.edge.point_to(Color.BLUE)
    caddy.edge.maintenance_off()
    if "django-a" not in caddy.upstreams:
        caddy.bring_up("django-a")


@pytest.fixture
def site(door: FrontDoor, ops_settings: OpsSettingsFactory) -> OpsSettings:
    return ops_settings(
        edge_dir=door.directory / "edge", probe_address=door.probe_address, site_host=HOST
    )


def test_the_colour_that_the_edge_says_answers(site: OpsSettings, door: FrontDoor) -> None:
    blue = front_door.look(site)
    door.edge.point_to(Color.GREEN)
    green = front_door.look(site)

    assert [blue.status, green.status] == [Status.GOOD, Status.GOOD]
    assert [blue.figures["color"], green.figures["color"]] == ["blue", "green"]


def test_another_colour_than_the_edge_says_is_bad(
    site: OpsSettings, door: FrontDoor, ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    """Caddy reads another directory than we do."""
    elsewhere = ops_settings(
        edge_dir=tmp_path / "elsewhere", probe_address=door.probe_address, site_host=HOST
    )
    door.edge.point_to(Color.GREEN)

    result = front_door.look(elsewhere)

    assert result.status is Status.BAD
    assert "The edge says blue, and green answers" in result.summary


def test_a_live_colour_that_is_down_is_bad(site: OpsSettings, door: FrontDoor) -> None:
    door.take_down("django-a", forget=True)

    result = front_door.look(site)

    assert result.status is Status.BAD
    assert result.next == "docker compose logs --tail 50 caddy"


def test_a_maintenance_page_that_was_asked_for_is_good_and_says_by_whom(
    site: OpsSettings, door: FrontDoor
) -> None:
    door.edge.maintenance_on(by="ada", reason="new disk")

    result = front_door.look(site)

    assert result.status is Status.GOOD
    assert "UTC by ada (new disk)." in result.summary


def test_a_maintenance_page_that_visitors_do_not_get_is_bad(
    site: OpsSettings, door: FrontDoor, ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    elsewhere = ops_settings(
        edge_dir=tmp_path / "elsewhere", probe_address=door.probe_address, site_host=HOST
    )
    front_door.Edge(elsewhere.edge_dir).maintenance_on(by="ada", reason="")

    result = front_door.look(elsewhere)

    assert result.status is Status.BAD
    assert "The maintenance page is up, and the front door answers 200" in result.summary


def test_caddy_that_is_gone_is_bad(ops_settings: OpsSettingsFactory) -> None:
    result = front_door.look(ops_settings(probe_address=f"127.0.0.1:{free_port()}"))

    assert result.status is Status.BAD
    assert "gives no answer" in result.summary


# --- The certificate

LookAtCertificate = Callable[..., Result]


@pytest.fixture
def look(
    ops_settings: OpsSettingsFactory, monkeypatch: pytest.MonkeyPatch, settings: object
) -> LookAtCertificate:
    def look_at(port: int, **changes: object) -> Result:
        monkeypatch.setattr("django.conf.settings.SITE_SCHEME", "https")
        monkeypatch.setattr(certificate, "HTTPS_PORT", port)
        return certificate.look(
            ops_settings(probe_address="127.0.0.1:2020", site_host=HOST, **changes)
        )

    return look_at


Serve = Callable[[str, str], int]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Shows a certificate that begins and ends at these times (YYYYMMDDHHMMSSZ)."""
    listening: list[socket.socket] = []

    def start(begins: str, ends: str) -> int:
        key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-nodes", "-keyout", str(key), "-out", str(chain), "-subj", f"/CN={HOST}/O=a=b"]
            + ["-not_before", begins, "-not_after", ends],
            check=True,
            capture_output=True,
            timeout=HUNG_SECONDS,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    with suppress(OSError), context.wrap_socket(taken, server_side=True) as tls:
                        tls.recv(1)

        Thread(target=answer, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in listening:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def at(days: float) -> str:
    """So many days from now."""
    from datetime import UTC, datetime, timedelta

    return f"{datetime.now(UTC) + timedelta(days=days):%Y%m%d%H%M%SZ}"


@pytest.mark.parametrize(
    ("begins", "ends", "status"),
    [
        (-30, 60, Status.GOOD),
        (-77, 13, Status.BAD),
        (-1, 5, Status.GOOD),  # One for six days is renewed later.
        (-5.5, 0.5, Status.BAD),
        (-90, -1, Status.BAD),
    ],
)
def test_a_certificate_must_be_good_for_days_yet(
    look: LookAtCertificate, serve: Serve, begins: float, ends: float, status: Status
) -> None:
    result = look(serve(at(begins), at(ends)))

    assert result.status is status
    assert round(float(result.figures["days"])) == round(ends - 0.001)


def test_one_that_has_ended_says_what_visitors_see(look: LookAtCertificate, serve: Serve) -> None:
    assert "browsers turn visitors away" in look(serve(at(-90), at(-2))).summary


def test_the_one_that_caddy_makes_by_itself_is_read(
    look: LookAtCertificate, tmp_path: Path
) -> None:
    port, program = free_port(), shutil.which("caddy")
    assert program
    (tmp_path / "Caddyfile").write_text(
        "{\n admin off\n auto_https disable_redirects\n local_certs\n skip_install_trust\n"
        f" storage file_system {tmp_path}/data\n}}\nhttps://{HOST}:{port} {{\n respond ok\n}}\n"
    )
    argv = [program, "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    with (tmp_path / "log").open("wb") as log:
        caddy = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        wait_until(lambda: look(port).figures)
        result = look(port)
        lacking = look(port, site_hosts=("another.test",))
    finally:
        caddy.kill()
        caddy.wait()

    assert result.status is Status.GOOD
    assert "Caddy Local Authority" in str(result.figures["issuer"])
    assert lacking.status is Status.BAD
    assert "Caddy shows no certificate for another.test" in lacking.summary


def test_a_server_that_speaks_no_tls_is_bad(look: LookAtCertificate, caddy: FrontDoor) -> None:
    result = look(caddy.port)

    assert result.status is Status.BAD
    assert f"no certificate for {HOST}" in result.summary


def test_nobody_at_the_https_port_is_bad(look: LookAtCertificate) -> None:
    assert "Nobody answers HTTPS" in look(free_port()).summary


def test_a_server_that_hangs_is_given_up_in_time(look: LookAtCertificate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = look(silent.getsockname()[1])

    assert result.status is Status.BAD
    assert "timed out" in result.summary


def test_a_site_without_https_needs_none(
    ops_settings: OpsSettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.conf.settings.SITE_SCHEME", "http")

    assert certificate.look(ops_settings()).status is Status.GOOD
