"""What a stranger can do to the front door, and what somebody inside the web can do to what serves
uploads: on the real stack, with visitors there."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from time import monotonic, sleep
from typing import Any

import pytest

from tests.rig.load import percentile, visitors
from tests.rig.stack import Result, ScratchStack, run

HUNG_SECONDS = 60.0
SLOW = 2000
RATE = 10.0
WATCH_SECONDS = 15.0


@pytest.fixture(autouse=True)
def deployed(stack: ScratchStack) -> None:
    assert stack.first.code == 0, stack.first.output + stack.first.errors


def get(stack: ScratchStack, path: str) -> tuple[int, str, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=HUNG_SECONDS)
    connection.request("GET", path, headers={"Host": "localhost"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace"), answer


def inside_web(stack: ScratchStack, *argv: str) -> Result:
    web = {"blue": "django-a", "green": "django-b"}[stack.status()["live"]]
    container = f"{stack.project}-{web}-1"
    return run(["docker", "exec", container, *argv], check=False)


def inspect(stack: ScratchStack, service: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(
        run(["docker", "inspect", f"{stack.project}-{service}-1"]).output
    )
    return found[0]


# --- Uploads --------------------------------------------------------------------------------------


@pytest.fixture
def links(stack: ScratchStack) -> Iterator[None]:
    made = inside_web(
        stack,
        *("sh", "-c"),
        "cd /srv/media && echo mine > upload.txt && ln -s / root && ln -s upload.txt link"
        " && ln -s /etc/media conf && mkfifo fifo",
    )
    assert made.code == 0, made.errors
    yield
    inside_web(stack, "sh", "-c", "cd /srv/media && rm -f upload.txt root link conf fifo")


def test_links_that_the_web_makes_lead_nowhere(stack: ScratchStack, links: None) -> None:
    assert get(stack, "/media/upload.txt")[:2] == (200, "mine\n")

    for path in ("root/etc/passwd", "root/data", "conf/nginx.conf", "link", "fifo"):
        status, body, answer = get(stack, f"/media/{path}")
        assert (status, body) == (404, "404 Not Found"), path
        assert answer.getheader("Cache-Control") == "no-store"


def test_links_are_backed_up_as_links(stack: ScratchStack, links: None) -> None:
    taken = stack.manage("backup_db", "--media")
    assert taken.code == 0, taken.output + taken.errors
    code = (
        "import tarfile; from pathlib import Path\n"
        "newest = max(Path('/var/backups/changeover').glob('*.media.tar.gz'))\n"
        "print(sorted((m.name, m.type.decode()) for m in tarfile.open(newest)))"
    )

    assert stack.django_shell(code).strip() == str(
        sorted([("conf", "2"), ("link", "2"), ("root", "2"), ("upload.txt", "0")])
    )


def test_what_serves_uploads_has_nothing_else_to_give(stack: ScratchStack) -> None:
    media = inspect(stack, "media")
    host = media["HostConfig"]

    assert media["Config"]["User"] == "65534:65534"
    assert (host["CapDrop"], host["CapAdd"], host["ReadonlyRootfs"]) == (["ALL"], None, True)
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert {m["Destination"]: m["RW"] for m in media["Mounts"]} == {
        "/srv/media": False,
        "/etc/media": False,
    }
    dotenv = dict(line.split("=", 1) for line in (stack.site / ".env").read_text().splitlines())
    told = "\n".join(media["Config"]["Env"])
    assert not [name for name in ("SECRET_KEY", "POSTGRES_PASSWORD") if dotenv[name] in told]
    assert set(media["NetworkSettings"]["Networks"]) == {f"{stack.project}_media"}
    network = json.loads(run(["docker", "network", "inspect", f"{stack.project}_media"]).output)[0]
    assert network["Internal"]
    names = {c["Name"] for c in network["Containers"].values()}
    assert names == {f"{stack.project}-{service}-1" for service in ("media", "caddy")}


def test_caddy_is_nobody_special_and_its_admin_socket_is_roots(stack: ScratchStack) -> None:
    caddy = inspect(stack, "caddy")

    assert caddy["Config"]["User"] == "10002:10002"
    assert caddy["HostConfig"]["ReadonlyRootfs"]
    assert "/srv/media" not in {m["Destination"] for m in caddy["Mounts"]}
    status = stack.compose("exec", "-T", "caddy", "sh", "-c", "cat /proc/[0-9]*/status").output
    effective = {line.split()[1] for line in status.splitlines() if line.startswith("CapEff")}
    assert effective == {"0000000000000000"}
    # Utility reads it all the same: a deployment drains by it.
    assert all(c["in_flight"] is not None for c in stack.status()["colors"].values())


def test_caddy_runs_what_the_checkout_declares(stack: ScratchStack) -> None:
    checked = stack.manage("check_health", "edge", "service-media")

    assert checked.code == 0, checked.output


# --- Slow and many --------------------------------------------------------------------------------


def head(stack: ScratchStack, kind: int) -> bytes:
    host = b"Host: localhost\r\n"
    match kind % 4:
        case 0:  # Headers without an end.
            return b"GET / HTTP/1.1\r\n" + host + b"X-Slow: "
        case 1:  # A small body without an end.
            return b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 60000\r\n\r\na="
        case 2:  # One too large to be kept, of which so much comes as is kept, and no more.
            large = b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 900000\r\n\r\n"
            return large + b"a" * 66000
        case _:  # Nobody reads the answers.
            return (b"GET / HTTP/1.1\r\n" + host + b"\r\n") * 20


@contextmanager
def slow_clients(stack: ScratchStack, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as closing:
        clients = []
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", stack.port), timeout=HUNG_SECONDS)
            closing.callback(client.close)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if number % 4 == 3:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.sendall(head(stack, number))
            client.settimeout(0)
            clients.append(client)
        yield clients


def drip(clients: list[socket.socket]) -> None:
    for client in clients:
        try:
            client.send(b"a")
        except OSError:  # It was ended, which is right, too.
            continue


def test_two_thousand_slow_connections_keep_no_visitor_out(stack: ScratchStack) -> None:
    with visitors(stack.port, rate=RATE, slow_rate=0.1) as before:
        sleep(WATCH_SECONDS / 2)

    with (
        slow_clients(stack, SLOW) as clients,
        visitors(stack.port, rate=RATE, slow_rate=0.1) as traffic,
    ):
        end = monotonic() + WATCH_SECONDS
        while monotonic() < end:
            drip(clients)
            sleep(1)

    quick = [r for r in traffic.requests if r.kind != "slow"]
    steady = [r for r in before.requests if r.kind != "slow"]
    for name, requests in (("before", steady), ("with them", quick)):
        print(
            f"{name}: {len(requests)} requests, p50 {percentile(requests, 0.5):.0f} ms,"
            f" p99 {percentile(requests, 0.99):.0f} ms"
        )
    assert not before.failed, before.failed[:5]
    assert not traffic.failed, traffic.failed[:5]
    assert len(quick) > WATCH_SECONDS * RATE / 2
    caddy = inspect(stack, "caddy")
    assert not caddy["State"]["OOMKilled"]
    assert caddy["RestartCount"] == 0
