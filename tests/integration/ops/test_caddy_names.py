"""Which names the real Caddy serves, redirects and refuses, and whom it believes."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from apps.ops.edge.admin import Admin, same
from apps.ops.edge.follow import with_own_lines
from tests.integration.ops.front_door import HOST, ROOT, FrontDoor, Response, entrypoint
from tests.servers import wait_until

NAMES = {
    "SITE_HOSTS": "shop.test, 127.0.0.9,[::9]",
    "SITE_ALIASES": "old.test,www.shop.test",
    "TRUSTED_PROXIES": "10.0.0.0/8,127.0.0.1",
}
NOT_HERE = (421, "This name is not served here.")


def started(factory: pytest.TempPathFactory, scheme: str) -> Iterator[FrontDoor]:
    door = FrontDoor(factory.mktemp(scheme), environment={**NAMES, "SITE_SCHEME": scheme})
    door.own.write_text("@gone path /gone\nredir @gone /new 302\nheader /a X-Own yes\n")
    door.start()
    for name in (HOST, "shop.test", "old.test", f"www.{HOST}", "www.shop.test"):
        wait_until(lambda name=name: scheme == "http" or has_certificate(door, name))
    yield door
    door.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    yield from started(tmp_path_factory, "http")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    yield from started(tmp_path_factory, "https")


def has_certificate(door: FrontDoor, name: str) -> bool:
    with suppress(ssl.SSLError):
        return bool(door.get_over_tls(name))
    return False


@pytest.fixture(params=["plain", "secure"])
def door(request: pytest.FixtureRequest) -> FrontDoor:
    door: FrontDoor = request.getfixturevalue(request.param)
    return door


def is_secure(door: FrontDoor) -> bool:
    return door.environment["SITE_SCHEME"] == "https"


def ask(door: FrontDoor, host: str) -> Response:
    if is_secure(door):
        return door.get_over_tls(host)
    return door.get("/a?b=c", host=host)


@pytest.mark.parametrize("host", [HOST, HOST.upper(), "shop.test"])
def test_each_name_of_the_site_shows_it(door: FrontDoor, host: str) -> None:
    assert (ask(door, host).status, ask(door, host).color) == (200, "blue")


@pytest.mark.parametrize(
    ("host", "to"), [(f"www.{HOST}", HOST), ("old.test", HOST), ("www.shop.test", "shop.test")]
)
def test_an_alias_leads_to_the_site(door: FrontDoor, host: str, to: str) -> None:
    response = ask(door, host)

    scheme = door.environment["SITE_SCHEME"]
    assert (response.status, response.headers["location"]) == (301, f"{scheme}://{to}/a?b=c")


@pytest.mark.parametrize(
    "host", ["evil.example", f"a.{HOST}", f"{HOST}.evil.example", "10.0.0.1", "[::1]", f"{HOST}."]
)
def test_a_name_that_is_not_the_sites_gets_neither_a_page_nor_a_redirect(
    door: FrontDoor, host: str
) -> None:
    refused = door.get("/a", host=host)

    assert (refused.status, refused.body) == NOT_HERE
    assert "server" not in refused.headers
    # By whatever name the stack itself asks.
    assert door.get("/.edge", host=host, probe=True).status == 200


@pytest.mark.parametrize("host", ["evil.example", f"a.{HOST}", "10.0.0.1"])
def test_nobody_gets_in_over_https_by_a_name_that_is_not_the_sites(
    secure: FrontDoor, host: str
) -> None:
    borrowed = secure.get_over_tls(host, sni=HOST)

    assert (borrowed.status, borrowed.body) == NOT_HERE
    with pytest.raises(ssl.SSLError, match="alert"):
        secure.get_over_tls(host)


@pytest.mark.parametrize("host", [HOST, "shop.test", "old.test", f"www.{HOST}", f"blue.{HOST}"])
def test_where_there_is_https_plain_http_leads_to_it(secure: FrontDoor, host: str) -> None:
    response = secure.get("/a?b=c", host=host)

    assert (response.status, response.headers["location"]) == (308, f"https://{host}/a?b=c")


@pytest.mark.parametrize("host", ["127.0.0.9", "[::9]"])
def test_an_address_can_be_one_of_its_names(plain: FrontDoor, host: str) -> None:
    assert plain.get("/", host=host).color == "blue"


def test_https_that_ends_in_front_is_believed_of_a_trusted_proxy(plain: FrontDoor) -> None:
    forwarded = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.9")]

    saw = dict(json.loads(plain.get("/", *forwarded).body)["headers"])
    www = plain.get("/a", *forwarded, host=f"www.{HOST}")

    assert saw["X-Forwarded-Proto"] == "https"
    assert saw["X-Forwarded-For"] == "203.0.113.9, 127.0.0.1"
    assert www.headers["location"] == f"https://{HOST}/a"


def test_the_projects_own_lines_count_for_visitors_and_not_for_probes(plain: FrontDoor) -> None:
    assert plain.get("/gone").headers["location"] == "/new"
    assert plain.get("/a").headers["x-own"] == "yes"
    assert plain.get("/gone", probe=True).status == 200


def test_the_projects_own_lines_are_a_part_of_what_is_compared(plain: FrontDoor) -> None:
    admin, text = Admin(plain.admin), (plain.directory / "Caddyfile").read_text()

    whole = admin.adapted(with_own_lines(text, plain.own.read_text()))

    assert same(admin.running(), whole)
    assert not same(admin.running(), admin.adapted(with_own_lines(text, "")))
    # As a release does that knows nothing of them.
    assert not same(admin.running(), admin.adapted(text))


# --- What compose.prod.yml makes of the variables -------------------------------------------------


def names_served(through: list[str], **environment: str) -> set[str]:
    """Every name that the Caddyfile means with these variables."""
    adapted = subprocess.run(
        [*through, "caddy", "adapt", "--config", str(ROOT / "docker/caddy/Caddyfile")],
        env={"PATH": os.environ["PATH"], "SITE_HOST": "a.test", **environment},
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout
    servers = json.loads(adapted)["apps"]["http"]["servers"].values()
    routes = [route for server in servers for route in server["routes"]]
    return {name for r in routes for match in r.get("match", []) for name in match.get("host", ())}


def without_colours(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith(("blue.", "green.", "aliases."))}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"a.test", "www.a.test"}),
        ({"SITE_WWW": "true", "SITE_HOSTS": "b.test"}, {"a.test", "www.a.test", "b.test"}),
        ({"SITE_WWW": "No"}, {"a.test"}),
        ({"SITE_HOSTS": "www.a.test"}, {"a.test", "www.a.test"}),
        ({"SITE_ALIASES": "b.test,www.a.test"}, {"a.test", "www.a.test", "b.test"}),
        ({"SITE_HOST": "www.a.test", "SITE_ALIASES": "a.test"}, {"a.test", "www.a.test"}),
        ({"SITE_HOST": "192.0.2.1"}, {"192.0.2.1"}),
        ({"SITE_HOSTS": "*"}, {"a.test", "www.a.test", "*"}),
    ],
)
def test_the_names_are_those_of_the_variables(
    environment: dict[str, str], expected: set[str]
) -> None:
    served = names_served(entrypoint(), SITE_SCHEME="https", **environment)

    assert without_colours(served) == expected


def test_a_container_from_before_these_variables_serves_what_it_did() -> None:
    assert without_colours(names_served([])) == {"a.test", "www.a.test"}
