"""purge_cache --redis: the site's own cache, in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.contrib.sessions.backends.cached_db import SessionStore
from django.core.cache import cache, caches
from pytest_django import Settings

from apps.ops.models import Purge
from tests.integration.ops.cloudflare import (
    CloudflareApi,
)

if TYPE_CHECKING:
    from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "https://example.org/a.css"


@pytest.fixture
def own_cache(settings: Settings, own_redis: RedisServer) -> redis.Redis:
    """The site's cache, on a Redis of this test's own, with a prefix full of signs."""
    default = {**settings.CACHES["default"], "LOCATION": own_redis.url, "KEY_PREFIX": "si[t]e*"}
    settings.CACHES = {"default": default}
    caches.settings = caches.configure_settings(settings.CACHES)
    if hasattr(caches._connections, "default"):
        del caches["default"]
    return redis.Redis(port=own_redis.port)


@pytest.fixture(autouse=True)
def put_caches_back() -> Iterator[None]:
    yield
    caches.__dict__.pop("settings", None)
    if hasattr(caches._connections, "default"):
        del caches["default"]


def test_the_sites_own_keys_are_removed_and_nobody_elses(run: Any, own_cache: redis.Redis) -> None:
    cache.set_many({f"page-{n}": n for n in range(5000)})
    cache.set("old", 1, version=7)
    others = {"other:1:page": "1", "site:1:page": "2", "sit:1:x": "3", "si[t]e*": "4"}
    own_cache.mset(others)
    session = SessionStore()
    session["user"] = "ada"
    session.save()

    code, out, _ = run("--redis")

    assert code == 0
    assert "redis: 5,002 keys removed." in out
    assert {key.decode() for key in own_cache.scan_iter()} == set(others)
    assert SessionStore(session.session_key)["user"] == "ada"
    row = Purge.objects.get()
    assert (row.where, row.status, row.purged, row.total) == ("redis", "purged", 5002, 5002)


def test_keys_that_cannot_be_told_from_others_stay(
    run: Any, own_cache: redis.Redis, settings: Settings
) -> None:
    cache.key_prefix = ""
    cache.set("page", 1)

    code, _, err = run("--redis")

    assert code == 1
    assert "has no KEY_PREFIX" in err
    assert own_cache.dbsize() == 1


def test_redis_that_is_away_is_said_and_the_cdn_is_purged_all_the_same(
    run: Any, api: CloudflareApi, own_cache: redis.Redis, own_redis: RedisServer
) -> None:
    own_redis.kill()

    code, out, err = run("--redis", "--url", PAGE)

    assert code == 6
    assert "example.org: 1 purged." in out
    assert "redis: nothing purged. Redis does not answer" in err
    assert sorted(Purge.objects.values_list("where", "status")) == [
        ("example.org", "purged"),
        ("redis", "failed"),
    ]
