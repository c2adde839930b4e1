"""Answers to requests whose body nobody reads, from the real gunicorn behind the real Caddy."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep

import pytest

from apps.ops.edge.probe import ask
from tests.integration.ops.front_door import ADDRESSES, HOST, FrontDoor
from tests.servers import HUNG_SECONDS, wait_until

ROOT = Path(__file__).parents[3]
# A view that looks at nothing of its request.
PATH = "/health/live"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    """Blue is gunicorn with the project's own configuration."""
    door = FrontDoor(
        tmp_path_factory.mktemp("bodies"), environment={"EXPOSE_RELEASE": "true"}
    ).start()
    port = door.upstreams["django-a"].server_port
    door.upstreams.pop("django-a").stop()
    address = f"{ADDRESSES['django-a']}:{port}"
    environment = {**os.environ, "ROLE": "web", "COLOR": "blue", "WEB_REQUEST_SECONDS": "2"}
    argv = ["gunicorn", "--config", "config/gunicorn.conf.py", "--bind", address, "config.wsgi"]
    with subprocess.Popen(argv, cwd=ROOT, env=environment) as gunicorn:
        try:
            wait_until(lambda: ask(address, PATH, host=HOST).status == 200)
            yield door
        finally:
            gunicorn.terminate()
            gunicorn.wait(HUNG_SECONDS)
            door.stop()


@pytest.mark.parametrize("size", [3, 300_000, 3_000_000])
def test_every_request_is_answered_whatever_it_sends(door: FrontDoor, size: int) -> None:
    answers = [door.get(PATH, method="POST", body=b"x" * size) for _ in range(20)]

    assert {answer.status for answer in answers} == {200}
    assert {answer.color for answer in answers} == {"blue"}


def test_what_is_no_http_is_answered_400_and_the_next_request_as_ever(door: FrontDoor) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    assert {door.send(head + body) for body in (b"zz\r\n", b"2\r\nabXX", b"-1\r\n") * 9} == {400}
    assert door.get(PATH).status == 200


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (f"GET {PATH} HTTP/x", "", 400),
        (f"GET {PATH}?{'a' * 5000} HTTP/1.1", "", 414),
        (f"GET {PATH} HTTP/1.1", f"X-Long: {'a' * 9000}\r\n", 431),
        (f"GET {PATH} HTTP/1.1", "".join(f"X-{n}: a\r\n" for n in range(120)), 431),
        (f"GET {PATH} HTTP/1.1", f"X-Long: {'a' * 40_000}\r\n", 431),
        (f"GET {PATH} HTTP/1.1", "Content-Length: -1\r\n", 400),
        (f"GET {PATH} HTTP/1.1", "Bad Name: a\r\n", 400),
    ],
)
def test_headers_beyond_a_limit_are_the_clients_error(
    door: FrontDoor, request_line: str, headers: str, status: int
) -> None:
    assert door.send(f"{request_line}\r\nHost: {HOST}\r\n{headers}\r\n".encode()) == status


def to_gunicorn(door: FrontDoor) -> socket.socket:
    port = door.upstreams["django-b"].server_port
    return socket.create_connection((ADDRESSES["django-a"], port), timeout=HUNG_SECONDS)


def read_all(connection: socket.socket) -> bytes:
    said = b""
    while piece := connection.recv(65536):
        said += piece
    return said


def test_a_connection_is_kept_when_all_of_the_body_came(door: FrontDoor) -> None:
    port = door.upstreams["django-b"].server_port
    connection = HTTPConnection(ADDRESSES["django-a"], port, timeout=HUNG_SECONDS)
    connection.connect()
    kept = connection.sock
    for _ in range(3):
        connection.request("POST", PATH, body=b"hello", headers={"Host": HOST})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    assert connection.sock is kept
    connection.close()


def test_a_client_that_sends_a_byte_now_and_then_is_answered_and_let_go(door: FrontDoor) -> None:
    """What it sends after that is no request: it could say anything of who sent it."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n"
    smuggled = f"GET /nowhere HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with to_gunicorn(door) as connection:
        connection.sendall(head.encode())
        begun = monotonic()
        try:
            while monotonic() - begun < 4:
                connection.sendall(b"x")
                sleep(0.1)
            connection.sendall(smuggled)
        except OSError:
            pass  # It was let go.
        said = read_all(connection)

    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 200")


def test_what_is_no_chunk_ends_the_connection_and_nothing_else(door: FrontDoor) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    with to_gunicorn(door) as connection:
        connection.sendall(head.encode() + f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert read_all(connection).count(b"HTTP/1.1 ") == 1
    assert door.get(PATH).status == 200
