"""The watch against a real server that answers as it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import monotonic

import pytest

from apps.ops.deploys.watch import Watch
from tests.servers import wait_until


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.status = 200
        self.asked: Counter[str] = Counter()
        self.flowing = Event()
        self.flowing.set()
        Thread(target=self.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.server.flowing.wait(30)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.flowing.set()
    site.shutdown()
    site.server_close()


@pytest.fixture
def watch(site: Site) -> Iterator[Watch]:
    watch = Watch(f"127.0.0.1:{site.server_address[1]}", host="example.org")
    yield watch
    watch.stop()


def test_ready_answers_in_a_row_add_up(watch: Watch) -> None:
    wait_until(lambda: watch.ready_seconds > 0.3)

    assert watch.ready_at is not None


def test_one_answer_that_is_not_ready_begins_it_anew(site: Site, watch: Watch) -> None:
    wait_until(lambda: watch.ready_seconds > 0.3)
    site.status = 503

    wait_until(lambda: watch.ready_seconds == 0)
    assert str(watch.last).startswith("503")

    site.status = 200
    wait_until(lambda: watch.ready_seconds > 0)


def test_a_site_that_stops_answering_does_not_get_any_readier(site: Site, watch: Watch) -> None:
    wait_until(lambda: watch.ready_seconds > 0)
    site.flowing.clear()
    watch.count_anew(warm_up=())

    begun = monotonic()
    wait_until(lambda: monotonic() - begun > 1)
    assert watch.ready_seconds == 0


def test_it_warms_the_site_up_when_the_calm_begins(site: Site, watch: Watch) -> None:
    wait_until(lambda: watch.ready_seconds > 0)
    assert not site.asked["/warm"]

    watch.count_anew(warm_up=["/warm"])

    wait_until(lambda: site.asked["/warm"] >= 16)
