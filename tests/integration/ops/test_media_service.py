"""Uploads as visitors get them: the real nginx, behind the real Caddy, on a tree that the site's
code can change at any moment."""

from __future__ import annotations

import os
import socket
from threading import Event

import pytest

from tests.integration.ops.front_door import FrontDoor, in_background
from tests.servers import HUNG_SECONDS

SECRET = "a TLS key"


@pytest.fixture
def door(caddy: FrontDoor) -> FrontDoor:
    (caddy.media.root / "photos").mkdir(exist_ok=True)
    (caddy.media.root / "photos/one.txt").write_text("0123456789")
    outside = caddy.media.directory / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "key").write_text(SECRET)
    return caddy


def link(door: FrontDoor, name: str, target: str) -> None:
    path = door.media.root / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target", "path"),
    [
        ("root", "/", "root/etc/passwd"),
        ("key", "../outside/key", "key"),
        ("up", "../outside", "up/key"),
        ("photos/back", "../..", "photos/back/outside/key"),
        # Also to what is there anyway: a link is no file.
        ("inside", "photos/one.txt", "inside"),
        ("loop", "loop", "loop"),
    ],
)
def test_no_link_is_followed(door: FrontDoor, name: str, target: str, path: str) -> None:
    link(door, name, target)

    response = door.get(f"/media/{path}")

    assert (response.status, response.headers["cache-control"]) == (404, "no-store")
    assert SECRET not in response.body


def test_no_link_is_followed_that_takes_a_directorys_place_meanwhile(door: FrontDoor) -> None:
    """Renamed to and fro as fast as it goes: what is looked at first is not what is opened then."""
    root, done = door.media.root, Event()
    (root / "real").mkdir(exist_ok=True)
    (root / "real/key").write_text("an upload")
    link(door, "linked", str(door.media.directory / "outside"))

    def swap() -> None:
        while not done.is_set():
            (root / "real").rename(root / "shown")
            (root / "shown").rename(root / "real")
            (root / "linked").rename(root / "shown")
            (root / "shown").rename(root / "linked")

    swapping = in_background(swap)
    try:
        answers = [door.get("/media/shown/key") for _ in range(1000)]
    finally:
        done.set()
        swapping.join()

    assert {a.status for a in answers} <= {200, 404}
    assert not [a for a in answers if SECRET in a.body]
    # Else the race was not run.
    assert {a.status for a in answers} == {200, 404}


def test_what_is_no_file_holds_nobody_up(door: FrontDoor) -> None:
    root = door.media.root
    (root / "fifo").unlink(missing_ok=True)
    os.mkfifo(root / "fifo", 0o666)
    (root / "socket").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))

        assert [door.get(f"/media/{n}").status for n in ("fifo", "socket")] == [404, 404]


def test_what_only_its_owner_may_read_is_not_served(door: FrontDoor) -> None:
    path = door.media.root / "private"
    path.write_text(SECRET)
    path.chmod(0o600)

    assert door.get("/media/private").status in (403, 404)


@pytest.mark.parametrize("path", ["", "photos", "photos/", "photos/../photos/", ".healthy/", "%00"])
def test_there_are_no_listings(door: FrontDoor, path: str) -> None:
    response = door.get(f"/media/{path}")

    assert response.status in (400, 404)
    assert "one.txt" not in response.body


@pytest.mark.parametrize("name", [".restoring-20260101_000000", ".before-20260101_000000"])
def test_what_a_restore_puts_aside_is_nobodys_to_see(door: FrontDoor, name: str) -> None:
    aside = door.media.root / name
    aside.mkdir(exist_ok=True)
    (aside / "old.txt").write_text("deleted long ago")

    assert door.get(f"/media/{name}/old.txt").status == 404
    assert door.get(f"/media//{name}/old.txt").status == 404


def test_a_part_of_a_file_can_be_asked_for(door: FrontDoor) -> None:
    part = door.get("/media/photos/one.txt", ("Range", "bytes=2-4"))

    assert (part.status, part.body) == (206, "234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert door.get("/media/photos/one.txt", ("Range", "bytes=99-")).status == 416


def test_what_has_not_changed_is_not_sent_again(door: FrontDoor) -> None:
    whole = door.get("/media/photos/one.txt")
    assert whole.body == "0123456789"

    for header, value in (
        ("If-None-Match", whole.headers["etag"]),
        ("If-Modified-Since", whole.headers["last-modified"]),
    ):
        again = door.get("/media/photos/one.txt", (header, value))
        assert (again.status, again.body) == (304, "")


def test_a_head_is_answered_without_a_body_and_a_post_is_refused(door: FrontDoor) -> None:
    head = door.get("/media/photos/one.txt", method="HEAD")

    assert (head.status, head.body, head.headers["content-length"]) == (200, "", "10")
    assert door.get("/media/photos/one.txt", method="POST", body=b"x").status == 405


def test_files_have_their_types_and_unknown_ones_are_downloaded(door: FrontDoor) -> None:
    for name in ("a.jpg", "a.pdf", "a.svg", "a.unknown"):
        (door.media.root / name).write_text("x")

    types = [door.get(f"/media/{n}").headers["content-type"] for n in ("a.jpg", "a.pdf", "a.svg")]
    assert types == ["image/jpeg", "application/pdf", "image/svg+xml"]
    assert door.get("/media/a.unknown").headers["content-type"] == "application/octet-stream"


def test_a_name_may_have_any_character(door: FrontDoor) -> None:
    (door.media.root / "straße 100% #1?.txt").write_text("odd")

    assert door.get("/media/stra%C3%9Fe%20100%25%20%231%3F.txt").body == "odd"


def test_no_cookie_of_the_site_reaches_the_service(door: FrontDoor) -> None:
    """Whoever takes it over learns nobody's session. A listener in its place sees what it gets."""
    host, port = door.media.address.split(":")
    door.media.pause()
    try:
        with socket.create_server((host, int(port))) as listener:
            listener.settimeout(HUNG_SECONDS)
            visitor = in_background(
                lambda: door.get("/media/x", ("Cookie", "sessionid=s"), ("Authorization", "t"))
            )
            connection, _ = listener.accept()
            with connection:
                asked = connection.recv(65536).decode().lower()
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            visitor.join()
    finally:
        door.media.resume()

    assert asked.startswith("get /x http/1.1")
    assert "sessionid" not in asked
    assert "authorization" not in asked


def test_without_the_service_uploads_are_the_page_and_the_site_is_there(door: FrontDoor) -> None:
    door.media.pause()
    try:
        assert door.get("/media/photos/one.txt").status == 503
        assert door.get("/").status == 200
    finally:
        door.media.resume()
