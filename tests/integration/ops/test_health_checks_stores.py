"""What the checks of Postgres and Redis say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.db import connection

from apps.ops import postgres
from apps.ops.health.checks import cache, database
from apps.ops.health.result import Result, Status
from apps.ops.roles.logins import Logins
from tests.conftest import OpsSettingsFactory
from tests.servers import PostgresServer, RedisServer


@pytest.fixture(autouse=True)
def database_server(database: PostgresServer) -> PostgresServer:
    return database


@contextmanager
def transaction(
    server: PostgresServer, question: str, *, name: str = ""
) -> Iterator[psycopg.Connection]:
    """Somebody's, that stays open."""
    places = {k.removeprefix("POSTGRES_").lower(): v for k, v in server.environment.items()}
    places["dbname"] = places.pop("db")
    with psycopg.connect(**places, application_name=name) as held:
        held.execute(question)
        yield held


# --- Postgres


def test_postgres_that_answers_is_good_with_its_figures(ops_settings: OpsSettingsFactory) -> None:
    result = database.look(ops_settings())

    assert result.status is Status.GOOD
    assert result.figures["max_connections"] == 100
    assert result.figures["both_colors_want"] == 2 * 2 * 16 + 2 + 20
    assert float(result.figures["size_mb"]) > 1


def test_too_many_connections_are_bad(ops_settings: OpsSettingsFactory) -> None:
    result = database.look(ops_settings(health_connections_percent=0))

    assert result.status is Status.BAD
    assert "of 100 connections are used" in result.summary


def test_a_server_without_room_for_both_colours_is_bad(ops_settings: OpsSettingsFactory) -> None:
    result = database.look(ops_settings(web_workers=8))

    assert result.status is Status.BAD
    assert "allows 100 connections" in result.summary
    assert "to 278 or more" in result.next


def test_an_old_transaction_is_bad_and_its_owner_named(
    ops_settings: OpsSettingsFactory, database_server: PostgresServer
) -> None:
    with transaction(database_server, "SELECT 1", name="web-blue"):
        result = database.look(ops_settings(health_transaction_seconds=0))

    assert result.status is Status.BAD
    assert "A transaction of web-blue" in result.summary
    assert "pg_terminate_backend" in result.next


def test_the_long_transaction_of_a_dump_is_no_trouble(
    ops_settings: OpsSettingsFactory, database_server: PostgresServer
) -> None:
    copy = "COPY (SELECT generate_series(1, 1000)) TO stdout;"
    with (
        transaction(database_server, "SELECT 1") as held,
        held.cursor() as cursor,
        cursor.copy(copy) as rows,
    ):
        result = database.look(ops_settings(health_transaction_seconds=0.001))
        assert len(list(rows))

    assert result.status is Status.GOOD


@pytest.mark.parametrize(
    ("user", "next_command"),
    [("nobody", "docker compose exec postgres psql --username nobody"), ("site_ops", "deploy")],
)
def test_postgres_that_lets_nobody_in_runs(
    user: str,
    next_command: str,
    ops_settings: OpsSettingsFactory,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "USER", user)
    settings.POSTGRES_LOGINS = Logins("nobody", "", Path("none"))

    result = database.look(ops_settings())

    assert result.status is Status.BAD
    assert result.summary.startswith(f"Postgres runs and does not let {user} in (")
    assert next_command in result.next


def test_a_refused_login_is_told_from_no_answer() -> None:
    refusals = {
        'FATAL:  password authentication failed for user "site"': True,
        'FATAL:  database "shop" does not exist': True,
        'FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "site"': True,
        "fe_sendauth: no password supplied": True,
        "FATAL:  the database system is starting up": False,
        "FATAL:  sorry, too many clients already": False,
        "Connection refused": False,
        'relation "ops_deployment" does not exist': False,
    }
    for said, is_refusal in refusals.items():
        found = postgres.trouble_of(psycopg.OperationalError(f"connection failed: {said}")).found
        assert ("runs and does not let" in found) is is_refusal, said


def test_postgres_that_is_down_is_bad(
    ops_settings: OpsSettingsFactory, database_server: PostgresServer
) -> None:
    database_server.stop()

    result = database.look(ops_settings())

    assert result.status is Status.BAD
    assert "does not answer as it should" in result.summary
    assert result.next == "docker compose ps --all postgres"


def test_a_wrong_password_is_said_and_never_shown(ops_settings: OpsSettingsFactory) -> None:
    # Undone here: before the database's own settings come back.
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(connection.settings_dict, "PASSWORD", "hunter2hunter2")
        result = database.look(ops_settings())

    assert result.status is Status.BAD
    assert "password authentication failed" in result.summary
    assert "hunter2" not in f"{result}"


def test_a_postgres_that_freezes_between_two_questions_is_given_up_in_time(
    ops_settings: OpsSettingsFactory,
    database_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its connection stays open, and no timeout of the driver ends the waiting."""
    monkeypatch.setattr(database, "_OLDEST", "SET statement_timeout = 0; SELECT pg_sleep(60)")

    result = database.look(ops_settings())

    assert result.status is Status.BAD


# --- Redis


@pytest.fixture
def look_at_redis(
    own_redis: RedisServer, settings: Any, ops_settings: OpsSettingsFactory
) -> Callable[..., Result]:
    def look(location: Any = own_redis.url, **config: str) -> Result:
        if config:
            with redis.Redis(port=own_redis.port) as client:
                for name, value in config.items():
                    client.config_set(name.replace("_", "-"), value)
        settings.CACHES = {
            "default": {"BACKEND": "apps.ops.cache.RedisCache", "LOCATION": location}
        }
        return cache.look(ops_settings())

    return look


def test_a_bounded_cache_that_forgets_is_good(look_at_redis: Callable[..., Result]) -> None:
    result = look_at_redis(maxmemory="100mb", maxmemory_policy="allkeys-lru")

    assert result.status is Status.GOOD
    assert result.figures["policy"] == "allkeys-lru"
    assert result.figures["evicted"] == 0


def test_a_cache_without_a_bound_is_bad(look_at_redis: Callable[..., Result]) -> None:
    assert "no maxmemory" in look_at_redis(maxmemory="0").summary


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_a_cache_that_refuses_when_it_is_full_is_bad(
    look_at_redis: Callable[..., Result], policy: str
) -> None:
    result = look_at_redis(maxmemory="100mb", maxmemory_policy=policy)

    assert result.status is Status.BAD
    assert policy in result.summary


def test_of_several_servers_the_first_is_asked(
    look_at_redis: Callable[..., Result], own_redis: RedisServer
) -> None:
    location = [own_redis.url, "redis://127.0.0.1:1/0"]

    assert "no maxmemory" in look_at_redis(location).summary
    assert "no maxmemory" in look_at_redis(";".join(location)).summary


def test_a_redis_that_is_gone_is_bad(
    look_at_redis: Callable[..., Result], own_redis: RedisServer
) -> None:
    own_redis.kill()

    assert "does not answer" in look_at_redis().summary


def test_a_frozen_redis_is_given_up_in_time(
    look_at_redis: Callable[..., Result], own_redis: RedisServer
) -> None:
    own_redis.freeze()

    result = look_at_redis()

    assert result.status is Status.BAD
    assert "does not answer" in result.summary


def test_a_project_without_redis_has_nothing_to_look_at(
    settings: Any, ops_settings: OpsSettingsFactory
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    assert cache.look(ops_settings()).status is Status.GOOD
