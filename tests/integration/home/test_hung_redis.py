"""The site, and all its threads, beside a Redis that says nothing any more."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
import redis
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.db import connections
from django.test import Client
from pytest_django import Settings

from apps.ops import cache as patient
from tests.servers import RedisServer, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_cache(own_redis: RedisServer, settings: Settings) -> Iterator[None]:
    default = settings.CACHES["default"]
    options = {**default["OPTIONS"], "socket_timeout": 1.2}
    settings.CACHES = {"default": default | {"LOCATION": own_redis.url, "OPTIONS": options}}
    yield
    del caches["default"]


def the_pause_is_over() -> None:
    cache._cache.breaker._not_before = monotonic()


def seconds_of_a_get() -> float:
    begun = monotonic()
    with pytest.raises(redis.TimeoutError):
        cache.get("page")
    connections.close_all()
    return monotonic() - begun


def test_one_time_out_is_enough_for_all_threads_and_then_one_asks_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("page", 1)
    own_redis.freeze()
    assert seconds_of_a_get() > 1
    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(lambda _: seconds_of_a_get(), range(40)))
        assert max(asked) < 0.5
        the_pause_is_over()
        monkeypatch.setattr(patient, "PAUSE_SECONDS", 60.0)
        asked = list(threads.map(lambda _: seconds_of_a_get(), range(40)))
        assert sum(seconds > 1 for seconds in asked) == 1

    own_redis.thaw()
    the_pause_is_over()
    assert cache.get("page") == 1
    assert cache.get("page") == 1


def test_who_signed_in_stays_in_signs_out_and_in_again_without_redis(
    own_redis: RedisServer, client: Client, settings: Settings
) -> None:
    user = User.objects.create_superuser("ada", password="a long password")
    client.force_login(user)
    assert client.get("/admin/").status_code == 200
    own_redis.kill()

    assert client.get("/admin/").status_code == 200
    client.logout()
    assert client.get("/admin/").status_code == 302
    client.force_login(user)
    assert client.get("/admin/").status_code == 200
    assert client.get("/about/").status_code == 200
    own_redis.start()
    wait_until(lambda: client.get("/admin/").status_code == 200)
