from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from time import time
from typing import Any

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.bake import access_log as bake
from apps.ops.edge.files import PREVIEW_SECONDS
from apps.ops.edge.inflight import in_flight
from apps.ops.edge.probe import ask
from tests.integration.ops.front_door import HOST, ROOT, FrontDoor, Response, in_background
from tests.servers import HUNG_SECONDS, wait_until

PAGE = (ROOT / "docker/caddy/503.html").read_text()
TOKEN = "A" * 43


@pytest.fixture
def door(caddy: FrontDoor) -> Iterator[FrontDoor]:
    yield caddy
    caddy.edge.point_to(Color.BLUE)
    (caddy.directory / "edge/maintenance").unlink(missing_ok=True)
    for service in ("django-a", "django-b"):
        if service not in caddy.upstreams:
            caddy.bring_up(service)


def upstream_saw(response: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in json.loads(response.body)["headers"]}


def preview(token: str) -> tuple[str, str]:
    return ("X-Preview", token)


# --- Who gets the traffic -------------------------------------------------------------------------


def test_traffic_goes_where_the_edge_says_from_the_next_request_on(door: FrontDoor) -> None:
    for color in [Color.BLUE, Color.GREEN, Color.GREEN, Color.BLUE] * 5:
        door.edge.point_to(color)

        assert door.color() == color
        assert door.get("/", probe=True).color == color


def test_no_request_is_lost_while_traffic_moves_to_and_fro(door: FrontDoor) -> None:
    done, answers = Event(), list[Response]()

    def visit() -> None:
        while not done.is_set():
            answers.append(door.get("/"))

    visitors = [in_background(visit) for _ in range(4)]
    try:
        for color in [Color.GREEN, Color.BLUE] * 20:
            door.edge.point_to(color)
            so_far = len(answers)
            wait_until(lambda so_far=so_far: len(answers) >= so_far + 8)
            assert door.color() == color
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()

    assert {answer.status for answer in answers} == {200}


def test_a_request_that_was_begun_is_answered_by_the_colour_that_began_it(door: FrontDoor) -> None:
    answers: list[Response] = []
    blue = door.upstreams["django-a"]
    blue.release.clear()
    visitor = in_background(lambda: answers.append(door.get("/hang")))
    wait_until(lambda: in_flight(door.admin, Color.BLUE) == 1)
    door.edge.point_to(Color.GREEN)
    assert door.color() == "green"
    blue.release.set()
    visitor.join()

    assert [(a.status, a.color) for a in answers] == [(200, "blue")]


def test_requests_in_flight_are_counted_for_each_colour(door: FrontDoor) -> None:
    blue = door.upstreams["django-a"]
    blue.release.clear()
    for color in Color:
        wait_until(lambda color=color: in_flight(door.admin, color) == 0)

    visitors = [in_background(lambda: door.get("/hang")) for _ in range(3)]
    wait_until(lambda: in_flight(door.admin, Color.BLUE) == 3)

    assert in_flight(door.admin, Color.GREEN) == 0
    blue.release.set()
    for visitor in visitors:
        visitor.join()
    wait_until(lambda: in_flight(door.admin, Color.BLUE) == 0)


def test_without_caddy_nobody_knows_what_is_in_flight(tmp_path: Path) -> None:
    assert in_flight(tmp_path / "admin.sock", Color.BLUE) is None


def test_a_probe_reads_who_answers(door: FrontDoor) -> None:
    answer = ask(door.probe_address, "/", host=HOST)

    assert (answer.status, answer.color, answer.reason) == (200, "blue", "OK")


# --- Preview --------------------------------------------------------------------------------------


def test_a_token_shows_the_idle_colour_to_its_bearer_alone(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        assert door.color(preview(token)) == "green"
        assert door.get("/", preview(token), probe=True).color == "green"
        assert door.color(("Cookie", f"a=b; ops-preview={token}; c=d")) == "green"
        assert ask(door.probe_address, "/", host=HOST, token=token).color == "green"
        assert door.color() == "blue"

    assert door.color(preview(token)) == "blue"


def test_a_token_is_for_one_colour(door: FrontDoor) -> None:
    door.edge.point_to(Color.GREEN)
    with door.edge.preview(Color.BLUE) as token:
        assert door.color(preview(token)) == "blue"
        assert door.color() == "green"


def test_a_preview_that_was_swept_shows_nothing_any_more(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        file = door.directory / f"edge/preview/green/t-{token}"
        long_ago = time() - PREVIEW_SECONDS - 1
        os.utime(file, (long_ago, long_ago))
        with door.edge.preview(Color.GREEN):
            assert door.color(preview(token)) == "blue"


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + ".", "A" * 42 + "\t"),
        *("../../live/green", "..%2f..%2flive%2fgreen", "/" * 43, "." * 43),
        # Were they taken for patterns, anybody's token would do.
        *("*", "*" * 43, "?" * 43, "[A-Za-z0-9_-]*", "{*,x}"),
        *("{env.HOME}", "{http.request.host}", "\\" * 43, "A" * 42 + "\u00e9", "A" * 5000),
    ],
)
def test_what_is_no_token_shows_the_live_colour_and_reaches_nobody(
    door: FrontDoor, token: str
) -> None:
    token = token.encode().decode("latin-1")
    with door.edge.preview(Color.GREEN):
        for header in (preview(token), ("Cookie", f"ops-preview={token}")):
            response = door.get("/", header)

            assert (response.status, response.color) == (200, "blue")
            assert "x-preview" not in upstream_saw(response)


def test_a_well_formed_token_that_nobody_gave_out_shows_the_live_colour(door: FrontDoor) -> None:
    assert door.color(preview(TOKEN)) == "blue"


def test_a_live_token_is_not_told_to_the_application(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        assert "x-preview" not in upstream_saw(door.get("/", preview(token)))


@pytest.mark.parametrize("other", ["x", "../../live/green", TOKEN])
def test_of_two_headers_at_most_one_token_comes_out(door: FrontDoor, other: str) -> None:
    with door.edge.preview(Color.GREEN) as token:
        for headers in (
            [preview(token), preview(other)],
            [preview(other), preview(token)],
            [("x-preview", token), ("X-PREVIEW", other)],
        ):
            response = door.get("/", *headers)
            assert (response.status, response.color) in [(200, "blue"), (200, "green")]
            assert "x-preview" not in upstream_saw(response)


def test_a_header_of_two_tokens_in_one_line_is_no_token(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        assert door.color(preview(f"{token}, {token}")) == "blue"


def test_an_address_with_a_token_sets_the_cookie_and_hides_the_token(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        response = door.get(f"/about/?ops-preview={token}&next=https://evil.example")

        assert (response.status, response.headers["location"]) == (303, "/")
        assert response.headers["set-cookie"] == (
            f"ops-preview={token}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
        )
        assert response.headers["cache-control"] == "no-store"
        assert door.color(("Cookie", response.headers["set-cookie"].partition(";")[0])) == "green"


@pytest.mark.parametrize(
    "query",
    [
        "ops-preview=x",
        "ops-preview=" + "A" * 42 + "%0a",
        "ops-preview=" + "A" * 42 + "%3b",
        "ops-preview=",
    ],
)
def test_an_address_with_something_else_sets_no_cookie(door: FrontDoor, query: str) -> None:
    response = door.get(f"/?{query}")

    assert (response.status, response.color) == (200, "blue")
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "path",
    ["//evil.example/", "/\\evil.example/", "/%2fevil.example", "/%5cevil.example"]
    + ["/%09/evil.example", "///evil.example"],
)
def test_the_way_in_leads_to_no_other_site(door: FrontDoor, path: str) -> None:
    response = door.get(f"{path}?ops-preview={TOKEN}")

    location = response.headers.get("location", "/")
    assert location.startswith("/")
    assert not re.match(r"/[\t\n\r ]*[/\\]", location)


@pytest.mark.parametrize("color", Color)
def test_each_colour_has_a_host_of_its_own_for_those_with_a_token(
    door: FrontDoor, color: Color
) -> None:
    host = f"{color}.{HOST}"
    with door.edge.preview(color) as token, door.edge.preview(color.other) as others:
        for headers in ([], [preview("x")], [preview(TOKEN)], [preview(others)]):
            refused = door.get("/", *headers, host=host)
            assert (refused.status, refused.color) == (403, "")
            assert refused.body == "A preview needs a token that has not expired."
            assert refused.headers["cache-control"] == "no-store"

        assert door.get("/", preview(token), host=host).color == color
        entered = door.get(f"/?ops-preview={token}", host=host)
        assert entered.status == 303
        cookie = ("Cookie", entered.headers["set-cookie"].partition(";")[0])
        assert door.get("/", cookie, host=host).color == color


# --- When something is down -----------------------------------------------------------------------


def test_in_maintenance_everybody_but_a_preview_gets_the_page(door: FrontDoor) -> None:
    (door.directory / "edge/maintenance").touch()
    with door.edge.preview(Color.GREEN) as token:
        response = door.get("/any/path?x=1")

        assert (response.status, response.body) == (503, PAGE)
        assert response.headers["retry-after"] == "30"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert door.get("/", method="POST", body=b"x").status == 503
        assert door.color(preview(token)) == "green"
    (door.directory / "edge/maintenance").unlink()

    assert door.color() == "blue"


@pytest.mark.parametrize("forget", [False, True], ids=["refused", "name gone"])
def test_a_colour_that_is_down_is_the_page_too(door: FrontDoor, forget: bool) -> None:
    door.take_down("django-a", forget=forget)

    response = door.get("/")

    assert (response.status, response.body) == (503, PAGE)
    assert response.headers["retry-after"] == "30"
    assert response.headers["cache-control"] == "no-store"


def test_a_colour_that_comes_back_in_a_moment_loses_no_request(door: FrontDoor) -> None:
    door.take_down("django-a")
    answers: list[Response] = []
    visitor = in_background(lambda: answers.append(door.get("/", method="POST", body=b"once")))
    wait_until(lambda: in_flight(door.admin, Color.BLUE) is not None)
    door.bring_up("django-a")
    visitor.join()

    assert [(a.status, a.color) for a in answers] == [(200, "blue")]


def test_the_other_colour_that_is_down_is_nobodys_business(door: FrontDoor) -> None:
    door.take_down("django-b", forget=True)

    assert door.color() == "blue"


@pytest.mark.parametrize("status", [404, 500, 502, 503])
def test_what_the_application_says_itself_is_passed_on(door: FrontDoor, status: int) -> None:
    response = door.get(f"/status/{status}")

    assert (response.status, response.color) == (status, "blue")


def test_a_body_larger_than_any_upload_is_refused(door: FrontDoor) -> None:
    response = door.get("/", method="POST", body=bytes(20_000_001))

    assert response.status == 413
    assert door.get("/", method="POST", body=bytes(1_000_000)).status == 200


# --- Slow clients ---------------------------------------------------------------------------------


@contextmanager
def slowly(
    door: FrontDoor, count: int, *, length: int, sent: int, method: str = "POST"
) -> Iterator[list[socket.socket]]:
    """So many requests of `length` bytes of which `sent` come, and no more."""
    with ExitStack() as closing:
        clients = []
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", door.port), timeout=HUNG_SECONDS)
            closing.callback(client.close)
            head = f"{method} / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
            client.sendall(head.encode() + b"a" * sent)
            clients.append(client)
        yield clients


def test_a_body_that_comes_slowly_reaches_the_application_when_it_is_whole(door: FrontDoor) -> None:
    with slowly(door, 40, length=60_000, sent=59_999) as clients:
        assert door.get("/").status == 200
        assert in_flight(door.admin, Color.BLUE) == 0
        clients[0].sendall(b"a")
        clients[0].settimeout(HUNG_SECONDS)
        assert clients[0].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_large_bodies_are_passed_on_a_few_at_a_time(door: FrontDoor) -> None:
    """Eight, which leaves threads to everybody else; the next is told to come back."""
    with slowly(door, 8, length=1_000_000, sent=70_000):
        wait_until(lambda: in_flight(door.admin, Color.BLUE) == 8)

        refused = door.get("/refused", method="POST", body=bytes(70_000))

        assert [bake.parse(json.dumps(e).encode()) for e in door.access_log("/refused")] == [None]
        assert (refused.status, refused.headers["retry-after"]) == (503, "30")
        assert door.get("/", method="POST", body=bytes(60_000)).status == 200
        assert in_flight(door.admin, Color.BLUE) == 8
    wait_until(lambda: in_flight(door.admin, Color.BLUE) == 0)
    assert door.get("/taken", method="POST", body=bytes(70_000)).status == 200
    (entry,) = door.access_log("/taken")
    assert bake.parse(json.dumps(entry).encode())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("sent", [65_000, 65_536])
def test_what_should_have_no_body_is_no_way_around_the_few(
    door: FrontDoor, method: str, sent: int
) -> None:
    with slowly(door, 10, length=900_000, sent=sent, method=method):
        assert door.get("/").status == 200
        assert in_flight(door.admin, Color.BLUE) == 0


def test_a_body_of_unknown_length_is_a_large_one(door: FrontDoor) -> None:
    blue = door.upstreams["django-a"]
    blue.release.clear()
    with ExitStack() as closing:
        for _ in range(8):
            client = socket.create_connection(("127.0.0.1", door.port), timeout=HUNG_SECONDS)
            closing.callback(client.close)
            head = f"POST /hang HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head.encode() + b"1\r\na\r\n")
        wait_until(lambda: in_flight(door.admin, Color.BLUE) == 8)

        assert door.get("/", method="POST", body=bytes(70_000)).status == 503
        assert door.get("/").status == 200
        blue.release.set()
    wait_until(lambda: in_flight(door.admin, Color.BLUE) == 0)


# --- Who is told what -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/health/ready", "/health%2Fready", "/HEALTH/ready", "//health/ready"]
)
def test_whether_it_is_ready_is_not_for_visitors(door: FrontDoor, path: str) -> None:
    response = door.get(path)

    assert response.status == 404 or json.loads(response.body)["path"] == "//health/ready"
    assert door.get("/health/live").status == 200
    assert door.get("/health/ready", probe=True).status == 200


def test_visitors_are_not_told_which_commit_serves_and_previews_are(door: FrontDoor) -> None:
    forged = ("X-Expose-Release", "true")
    assert upstream_saw(door.get("/", forged))["x-expose-release"] == "false"
    assert "x-expose-release" not in upstream_saw(door.get("/", forged, probe=True))
    with door.edge.preview(Color.BLUE) as token:
        assert "x-expose-release" not in upstream_saw(door.get("/", preview(token)))


# --- Files ----------------------------------------------------------------------------------------

HASHED = "site.3f2c9a17d04b.css"


@pytest.fixture
def files(door: FrontDoor) -> None:
    for name in (HASHED, "site.css", "img/logo.0123456789ab.svg", "site.3f2c9a17d04B.css"):
        path = door.directory / "static" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("content")
    (door.media.root / "upload.html").write_text("<script>alert(1)</script>")
    (door.directory / "outside").write_text("secret")


FOR_EVER = "public, max-age=31536000, immutable"
A_MOMENT = "public, max-age=300"


@pytest.mark.parametrize(
    ("name", "cached"),
    [
        pytest.param(HASHED, FOR_EVER),
        pytest.param("img/logo.0123456789ab.svg", FOR_EVER),
        ("site.css", A_MOMENT),
        ("site.3f2c9a17d04B.css", A_MOMENT),
        pytest.param(HASHED + "?v=1", FOR_EVER),
    ],
)
def test_only_a_file_whose_name_changes_with_it_is_kept_for_ever(
    door: FrontDoor, files: None, name: str, cached: str
) -> None:
    response = door.get(f"/static/{name}")

    assert (response.status, response.body) == (200, "content")
    assert response.headers["cache-control"] == cached
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        *("/static/gone.3f2c9a17d04b.css", "/static/gone.css", "/static/", "/static/img/"),
        *("/static/../outside", "/static/%2e%2e/outside", "/static/..%2foutside"),
        *("/static//../../outside", "/static/..\\outside", "/media/../outside", "/media/gone.jpg"),
    ],
)
def test_what_is_not_there_is_never_kept_and_nothing_outside_is(
    door: FrontDoor, files: None, path: str
) -> None:
    response = door.get(path)

    assert "secret" not in response.body
    if not response.color:
        assert (response.status, response.body) == (404, "404 Not Found")
        assert response.headers["cache-control"] == "no-store"


def test_an_upload_is_shown_and_never_run(door: FrontDoor, files: None) -> None:
    response = door.get("/media/upload.html")

    assert response.status == 200
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "public, max-age=3600"


# --- Headers, names, logs -------------------------------------------------------------------------


def test_www_leads_to_the_name_without_it(door: FrontDoor) -> None:
    response = door.get("/about/?a=b", host=f"www.{HOST}")

    assert (response.status, response.headers["location"]) == (301, f"http://{HOST}/about/?a=b")


def test_every_page_has_safe_headers_unless_the_application_knows_better(door: FrontDoor) -> None:
    headers = door.get("/").headers

    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "caddy" not in headers.get("server", "").lower()
    assert door.get("/framed").headers["x-frame-options"] == "SAMEORIGIN"


def test_a_visitor_cannot_say_that_they_are_somebody_else_or_came_by_https(
    door: FrontDoor,
) -> None:
    forged = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("CF-Connecting-IP", "203.0.113.9"),
    ]
    saw = upstream_saw(door.get("/", *forged))

    assert saw["host"] == HOST
    assert saw["x-forwarded-for"] == "127.0.0.1"
    assert saw["x-forwarded-proto"] == "http"
    assert saw["x-forwarded-host"] == HOST


def test_the_access_log_says_which_colour_answered(door: FrontDoor) -> None:
    door.get("/logged/blue")
    door.edge.point_to(Color.GREEN)
    door.get("/logged/green")

    for color in Color:
        (entry,) = door.access_log(f"/logged/{color}")
        assert (entry["color"], entry["status"]) == (color, 200)


def test_the_log_keeps_every_token_to_itself(door: FrontDoor) -> None:
    with door.edge.preview(Color.GREEN) as token:
        door.get("/hidden", preview(token))
        door.get("/hidden", ("Cookie", f"ops-preview={token}"))
        door.get(f"/hidden?ops-preview={token}")
        door.get(f"/hidden?a=b&ops-preview={token}&ops-preview={token}x")
        door.get(f"/hidden?ops%2Dpreview={token}", host=f"green.{HOST}")
        wait_until(lambda: len(door.access_log("/hidden")) == 5)

        assert token not in (door.directory / "log").read_text()


def of(path: str, entry: dict[str, Any]) -> bool:
    uri: str = entry.get("request", {}).get("uri", "")
    return uri.partition("?")[0] == path.partition("?")[0]


@pytest.mark.parametrize("how", ["header", "cookie", "address"])
def test_the_log_of_errors_keeps_a_token_to_itself_too(door: FrontDoor, how: str) -> None:
    door.take_down("django-b", forget=True)
    with door.edge.preview(Color.GREEN) as token:
        headers: list[Any] = {
            "header": [preview(token)],
            "cookie": [("Cookie", f"ops-preview={token}")],
            "address": [preview(token)],
        }[how]
        path = f"/failed/{how}" + (f"?ops-preview={token}x" if how == "address" else "")
        assert door.get(path, *headers).status == 503
        door.access_log(f"/failed/{how}")
        wait_until(lambda: [e for e in door.log() if e["level"] == "error" and of(path, e)])

        leaks = [entry.get("logger") for entry in door.log() if token in json.dumps(entry)]
    assert leaks == []


def test_the_containers_own_health_check_is_not_logged(door: FrontDoor) -> None:
    assert door.get("/.edge", probe=True).body == "ok"
    door.get("/after", probe=True)
    door.access_log("/after")

    assert "/.edge" not in (door.directory / "log").read_text()


def test_a_probe_comes_by_https_as_far_as_the_application_can_tell(door: FrontDoor) -> None:
    saw = upstream_saw(door.get("/", ("X-Forwarded-Proto", "gopher"), probe=True))

    assert saw["x-forwarded-proto"] == "https"
