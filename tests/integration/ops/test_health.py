"""`/health/live` and `/health/ready` over real HTTP, with a real Postgres and a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from apps.ops import readiness
from apps.ops.edge.probe import ask
from apps.ops.readiness import needed_migrations
from tests.servers import HUNG_SECONDS, PostgresServer, RedisServer, wait_until

SHA = "3f2c9a17d04b5e86a1c7f0e2b94d6853c1aa77e0"


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.RELEASE, settings.COLOR = SHA, "green"
    settings.ALLOWED_HOSTS = ["example.org"]


@pytest.fixture(autouse=True)
def nothing_overdue() -> Iterator[None]:
    """Every test asks anew; an answer that another test left overdue does not count."""
    readiness._questions.cache_clear()
    yield
    for question in readiness._questions().values():
        question._thread.shutdown(wait=True)
    readiness._questions.cache_clear()


@pytest.fixture
def cache(own_redis: RedisServer, settings: Settings) -> RedisServer:
    settings.CACHES = {
        "default": settings.CACHES["default"] | {"LOCATION": own_redis.url},
    }
    return own_redis


def ready(client: Client, **headers: str) -> tuple[int, dict[str, Any]]:
    begun = monotonic()
    response = client.get("/health/ready", headers=headers)
    assert monotonic() - begun < HUNG_SECONDS
    assert response["Cache-Control"] == "no-store"
    return response.status_code, json.loads(response.content)


def test_it_is_ready_with_a_database_a_cache_and_every_migration(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    assert ready(client) == (
        200,
        {
            "status": "ok",
            "release": SHA,
            "color": "green",
            "checks": {"database": "ok", "cache": "ok"},
        },
    )


@pytest.mark.parametrize(
    "host", ["evil.example", "", "example.org:99999", "a b", "[", "127.0.0.1:8000", "a,b", "ä"]
)
def test_health_answers_whatever_the_host_header_says(
    client: Client, database: PostgresServer, cache: RedisServer, host: str
) -> None:
    assert client.get("/health/live", headers={"host": host}).status_code == 200
    assert ready(client, host=host)[0] == 200


def test_health_is_not_redirected_to_https(
    client: Client, database: PostgresServer, cache: RedisServer, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert client.get("/health/live").status_code == 200
    assert ready(client)[0] == 200


def test_live_asks_nobody(client: Client) -> None:
    # Without a database fixture: pytest-django fails whoever asks for one.
    response = client.get("/health/live")

    assert response.json() == {"status": "ok", "release": SHA, "color": "green"}
    assert response["Cache-Control"] == "no-store"
    assert (response["X-Release"], response["X-Color"]) == (SHA, "green")


@pytest.mark.parametrize("expose", ["false", "", "yes"])
def test_visitors_are_not_told_which_commit_it_is(client: Client, expose: str) -> None:
    response = client.get("/health/live", headers={"x-expose-release": expose})

    assert response.json() == {"status": "ok"}
    assert not {"X-Release", "X-Color"} & set(response.headers)
    assert client.get("/health/live", headers={"x-expose-release": "true"})["X-Release"] == SHA


def test_only_these_two_paths_are_health(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["testserver"]
    plain = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": plain}}

    for path in ("/health/", "/health/live/", "/health/ready.json", "/health"):
        assert client.get(path).status_code == 404


def test_a_frozen_redis_is_said_within_the_deadline_and_forgotten_when_it_thaws(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    assert ready(client)[0] == 200
    cache.freeze()

    status, body = ready(client)

    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["database"] == "ok"
    assert body["checks"]["cache"] in ("no answer within 2 s", "TimeoutError")

    cache.thaw()
    wait_until(lambda: ready(client)[0] == 200)


def test_a_killed_redis_is_said_at_once(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    assert ready(client)[0] == 200
    cache.kill()

    status, body = ready(client)

    assert status == 503
    assert body["checks"] == {"database": "ok", "cache": "ConnectionError"}

    cache.start()
    wait_until(lambda: ready(client)[0] == 200)


def test_a_cache_that_keeps_nothing_is_said(
    client: Client, database: PostgresServer, settings: Settings
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

    assert ready(client)[1]["checks"]["cache"] == "the cache forgets what it is told"


def test_a_frozen_postgres_is_said_within_the_deadline_and_forgotten_when_it_thaws(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    database.freeze()

    status, body = ready(client)

    assert status == 503
    assert body["checks"] == {"database": "no answer within 2 s", "cache": "ok"}

    database.thaw()
    wait_until(lambda: ready(client)[0] == 200)


def test_asking_a_frozen_postgres_over_and_over_takes_one_thread_and_not_many(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    database.freeze()

    statuses = {ready(client)[0] for _ in range(2)}

    assert statuses == {503}
    question = readiness._questions()["database"]
    assert len(question._thread._threads) == 1
    assert question._thread._work_queue.qsize() == 0
    database.thaw()


def test_a_stopped_postgres_is_said_without_its_address_or_password(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    database.stop()

    status, body = ready(client)

    assert status == 503
    assert body["checks"] == {"database": "OperationalError", "cache": "ok"}


def test_a_missing_migration_is_named(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    call_command("migrate", "home", "zero", verbosity=0)
    try:
        status, body = ready(client)
    finally:
        call_command("migrate", verbosity=0)

    assert status == 503
    assert body["checks"]["database"] == "migration home.0001_initial is not applied"


def test_a_database_that_was_never_migrated_is_not_ready(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO hidden")
    try:
        assert ready(client)[1]["checks"]["database"] == "ProgrammingError"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE hidden RENAME TO django_migrations")


def test_migrations_of_a_newer_release_are_no_reason_not_to_be_ready(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('home', '9999_x', now())"
        )
    try:
        assert ready(client)[0] == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = '9999_x'")


def test_asking_leaves_no_connection_behind(
    client: Client, database: PostgresServer, cache: RedisServer
) -> None:
    for _ in range(5):
        ready(client)

    # A session's process ends a moment after its connection.
    wait_until(lambda: other_sessions() == 0)


def other_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        row = cursor.fetchone()
    assert row
    return int(row[0])


def test_the_needed_migrations_are_those_of_every_app() -> None:
    needed = needed_migrations()

    assert ("ops", "0001_history") in needed
    assert {"home", "ops", "auth", "sessions", "django_q"} <= {app for app, _ in needed}


def test_a_probe_of_a_real_server_reads_who_answers_and_what_is_wrong(
    live_server: Any, cache: RedisServer
) -> None:
    address = live_server.url.removeprefix("http://")
    assert ask(address, "/health/ready", host="whatever.example").status == 200
    cache.kill()

    answer = ask(address, "/health/ready", host="whatever.example")

    assert (answer.status, answer.release, answer.color) == (503, SHA, "green")
    assert str(answer) == (
        "503 Service Unavailable from release 3f2c9a17d04b (green); cache: ConnectionError"
    )
