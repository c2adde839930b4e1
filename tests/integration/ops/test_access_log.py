"""What the bake reads out of the lines that the real Caddy writes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.bake.access_log import Entry, parse
from apps.ops.edge.inflight import in_flight
from apps.ops.edge.probe import ask
from tests.integration.ops.front_door import HOST, FrontDoor
from tests.servers import wait_until


@pytest.fixture
def door(tmp_path: Path) -> Iterator[FrontDoor]:
    door = FrontDoor(tmp_path).start()
    yield door
    door.stop()


def entries(door: FrontDoor, path: str) -> list[Entry]:
    """What is read from a path's lines, which are waited for."""
    door.access_log(path)
    lines = (door.directory / "log").read_bytes().splitlines()
    return [entry for line in lines if path.encode() in line and (entry := parse(line))]


def test_an_answer_has_its_colour_its_status_and_its_time(door: FrontDoor) -> None:
    begun = time()
    door.get("/status/200")
    door.edge.point_to(Color.GREEN)
    door.get("/status/500")

    (good,), (bad,) = entries(door, "/status/200"), entries(door, "/status/500")

    assert (good.color, good.status, good.is_error) == (Color.BLUE, 200, False)
    assert (bad.color, bad.status, bad.is_error) == (Color.GREEN, 500, True)
    assert begun <= good.ended_at <= bad.ended_at <= time()
    assert 0 < good.seconds < 30


def test_the_page_that_caddy_shows_for_a_colour_that_is_away_is_that_colours_error(
    door: FrontDoor,
) -> None:
    door.take_down("django-a")
    door.get("/away")

    (entry,) = entries(door, "/away")

    assert (entry.color, entry.status) == (Color.BLUE, 503)


def test_the_maintenance_page_is_no_colours_answer(door: FrontDoor) -> None:
    (door.directory / "edge/maintenance").touch()
    assert door.get("/maintained").status == 503

    assert entries(door, "/maintained") == []


def test_our_own_probes_are_left_out(door: FrontDoor) -> None:
    ask(door.probe_address, "/probed", host=HOST)

    assert entries(door, "/probed") == []


def test_other_lines_and_halves_of_lines_are_left_out(door: FrontDoor) -> None:
    door.get("/whole")
    wait_until(lambda: entries(door, "/whole"))
    lines = (door.directory / "log").read_bytes().splitlines()
    whole = next(line for line in lines if parse(line))

    assert parse(whole[: whole.index(b'"color"') + 9]) is None
    assert parse(b"") is None
    assert len([line for line in lines if parse(line)]) == 1


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CUT = b"Content-Length: 1000000\r\n\r\n" + bytes(70_000)


@pytest.mark.parametrize(
    ("body", "then"),
    [
        (CHUNKED + b"zz\r\n", None),
        (CHUNKED + b"-1\r\nab", None),
        (CHUNKED + b"\r\nab\r\n", None),
        (CHUNKED + b"2\nab\n0\n\n", None),
        (CHUNKED + b"2\r\nabXX0\r\n\r\n", None),
        (CHUNKED + b"f" * 17 + b"\r\n", None),
        (CHUNKED + b"2;" + b"a" * 9000 + b"\r\nab\r\n0\r\n\r\n", None),
        (CHUNKED + b"2\r\nab\r\n0\r\nno trailer\r\n\r\n", None),
        (CHUNKED + b"2\r\nab\r\n0\r\na: b", socket.SHUT_WR),
        (CHUNKED + b"5\r\nab", socket.SHUT_WR),
        (CHUNKED, socket.SHUT_WR),
        (b"Content-Length: 100\r\n\r\nab", socket.SHUT_WR),
        (CUT, socket.SHUT_WR),
        (CHUNKED + b"5\r\nab", None),
        (CUT, None),
    ],
)
def test_a_body_that_is_cut_slow_or_no_http_is_its_senders_fault(
    hasty: FrontDoor, body: bytes, then: int | None
) -> None:
    path = f"/theirs/{time()}"
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\n".encode()

    assert 400 <= hasty.send(head + body, then=then) < 500
    assert entries(hasty, path) == []


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    door = FrontDoor(tmp_path_factory.mktemp("hasty"), environment={"BODY_SECONDS": "1"}).start()
    yield door
    door.stop()


@pytest.mark.parametrize("how", [socket.SHUT_RDWR, None], ids=["closed", "reset"])
def test_a_client_that_leaves_is_nobodys_error(door: FrontDoor, how: int | None) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER[how])
        client.sendall(b"POST /left HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n" + CUT)
        wait_until(lambda: in_flight(door.admin, Color.BLUE) == 1)

    assert entries(door, "/left") == []


# Closed at once with bytes unsent, a connection is reset.
LINGER = {socket.SHUT_RDWR: struct.pack("ii", 0, 0), None: struct.pack("ii", 1, 0)}


@pytest.mark.parametrize("body", [b"", b"Content-Length: 2\r\n\r\nab", CHUNKED + b"0\r\n\r\n"])
def test_a_colour_that_hangs_up_is_at_fault(door: FrontDoor, body: bytes) -> None:
    head = f"POST /hangup HTTP/1.1\r\nHost: {HOST}\r\n".encode()

    assert door.send(head + (body or b"\r\n")) == 503
    assert [entry.status for entry in entries(door, "/hangup")] == [503]
