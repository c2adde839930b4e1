"""All checks at once, while everything that they ask hangs, is gone, or answers nonsense."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
from django.db import connections

from apps.ops.conf import OpsSettings
from apps.ops.health import runner
from apps.ops.health.checks import ALL, certificate
from apps.ops.health.result import Result, Status
from apps.ops.health.starving import Starvation
from tests.conftest import Git, OpsSettingsFactory
from tests.servers import HUNG_SECONDS, PostgresServer, RedisServer, free_port

NAMES = (
    *("docker", "service-postgres", "service-redis", "service-caddy", "service-media"),
    *("service-django-a", "service-django-b", "service-django-q", "service-utility"),
    "service-jobs",
    *("front-door", "edge", "drift", "standby", "postgres", "roles", "redis", "workers"),
    *("disk", "memory"),
    *("certificate", "backups", "images", "clock"),
    *("supervisor", "cron", "checkout"),
)
ASKS_ITSELF = ("docker", "front-door", "postgres", "redis", "certificate", "supervisor")
ASKS_OTHERS = ("service-caddy", "service-utility", "standby", "workers", "cron", "checkout")


def test_every_check_of_the_list_is_there_once() -> None:
    assert tuple(check.name for check in ALL) == NAMES


def test_what_asks_the_thing_itself_is_bad_when_that_hangs_and_says_what_to_type() -> None:
    by_name = {check.name: check for check in ALL}

    assert {name for name in NAMES if by_name[name].hung is Status.BAD} == {*ASKS_ITSELF, "disk"}
    assert all(by_name[name].next for name in (*ASKS_ITSELF, "disk"))


@pytest.fixture
def site(
    ops_settings: OpsSettingsFactory,
    database: PostgresServer,
    own_redis: RedisServer,
    git: Git,
    tmp_path: Path,
    settings: Any,
) -> Iterator[Callable[..., OpsSettings]]:
    """A site whose Caddy, Docker and supervisor are at the addresses that a test gives."""
    settings.CACHES = {
        "default": {"BACKEND": "apps.ops.cache.RedisCache", "LOCATION": own_redis.url}
    }
    settings.SITE_SCHEME = "https"
    (tmp_path / "crontab").write_text("0 3 * * * manage.py backup_db\n")

    def make(port: int, supervisor: Path) -> OpsSettings:
        addresses.setattr(certificate, "HTTPS_PORT", port)
        addresses.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        return ops_settings(
            checkout=git.checkout,
            backup_dir=tmp_path / "backups",
            crontab=tmp_path / "crontab",
            probe_address=f"127.0.0.1:{port}",
            supervisor_socket=supervisor,
        )

    with pytest.MonkeyPatch.context() as addresses:
        yield make


class Never(Starvation):
    """These tests have the machine to themselves as little as any."""

    def is_felt(self) -> bool:
        return False


def look(settings: OpsSettings) -> dict[str, Result]:
    """In time, whatever hangs."""
    begun = monotonic()
    findings = runner.run(ALL, settings, starvation=Never)
    assert monotonic() - begun < HUNG_SECONDS
    return {finding.name: finding.result for finding in findings}


def statuses(results: dict[str, Result], names: tuple[str, ...]) -> dict[str, Status]:
    return {name: results[name].status for name in names}


def all_are(status: Status, names: tuple[str, ...]) -> dict[str, Status]:
    return dict.fromkeys(names, status)


def test_while_everything_hangs_each_says_so_itself(
    site: Callable[..., OpsSettings],
    database: PostgresServer,
    own_redis: RedisServer,
    git: Git,
    tmp_path: Path,
) -> None:
    git.on_server("config", "remote.origin.url", "ext::sleep 300")
    git.on_server("config", "protocol.ext.allow", "always")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "supervisor.sock"))
        unix.listen()
        settings = site(silent.getsockname()[1], tmp_path / "supervisor.sock")
        database.freeze()
        own_redis.freeze()
        results = look(settings)

    assert statuses(results, ASKS_ITSELF) == all_are(Status.BAD, ASKS_ITSELF)
    assert statuses(results, ASKS_OTHERS) == all_are(Status.UNKNOWN, ASKS_OTHERS)
    assert results["disk"].status is results["memory"].status is Status.GOOD
    assert all(result.next for result in results.values() if result.status is not Status.GOOD)


def test_while_everything_is_gone_each_says_so(
    site: Callable[..., OpsSettings],
    database: PostgresServer,
    own_redis: RedisServer,
    git: Git,
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "supervisor.sock"))
    git.remote.rename(git.remote.with_name("gone"))
    database.kill()
    own_redis.kill()

    results = look(site(free_port(), tmp_path / "supervisor.sock"))

    assert statuses(results, ASKS_ITSELF) == all_are(Status.BAD, ASKS_ITSELF)
    assert statuses(results, ASKS_OTHERS) == all_are(Status.UNKNOWN, ASKS_OTHERS)


NONSENSE = (b"", b"\x00\xff" * 4000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{[", b"-ERR no\r\n")


@contextmanager
def answering(server: type[socketserver.BaseServer], address: Any, answer: bytes) -> Iterator[Any]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(65536)
                self.request.sendall(answer)

    with server(address, Handler) as started:
        started.daemon_threads = True  # type: ignore[attr-defined]
        Thread(target=started.serve_forever, args=(0.01,), daemon=True).start()
        yield started.server_address
        started.shutdown()


@pytest.mark.parametrize("answer", NONSENSE)
def test_while_everything_answers_nonsense_nothing_of_it_is_good(
    site: Callable[..., OpsSettings],
    settings: Any,
    tmp_path: Path,
    answer: bytes,
) -> None:
    path = tmp_path / "supervisor.sock"
    with (
        answering(socketserver.ThreadingTCPServer, ("127.0.0.1", 0), answer) as address,
        answering(socketserver.ThreadingUnixStreamServer, str(path), answer),
    ):
        url = f"redis://127.0.0.1:{address[1]}/0"
        settings.CACHES = {"default": {"BACKEND": "apps.ops.cache.RedisCache", "LOCATION": url}}
        # Undone here: before the database's own settings come back.
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(connections.settings["default"], "PORT", str(address[1]))
            results = look(site(address[1], path))

    assert statuses(results, ASKS_ITSELF) == all_are(Status.BAD, ASKS_ITSELF)
    others = tuple(name for name in ASKS_OTHERS if name != "checkout")  # git's is well.
    assert statuses(results, others) == all_are(Status.UNKNOWN, others)


def test_what_answers_without_an_end_holds_nobody_up(
    site: Callable[..., OpsSettings], tmp_path: Path
) -> None:
    """A byte now and then: no single wait is too long."""

    class Drips(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.2):
                    self.request.sendall(b"X-And: so on\r\n")

    ended = Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drips) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        results = look(site(server.server_address[1], tmp_path / "no.sock"))
        ended.set()
        server.shutdown()

    assert results["docker"].status is results["front-door"].status is Status.BAD
    assert results["service-redis"].status is Status.UNKNOWN
