"""Redis: does it answer, is it bounded, and does it forget instead of refusing?"""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings as django
from django.core.cache.backends.redis import RedisCache
from django.utils.module_loading import import_string
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.ops.conf import OpsSettings
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, Result, bad, good
from apps.ops.redact import first_line

RECREATE = "docker compose up --detach --no-deps --force-recreate redis"


def look(settings: OpsSettings) -> Result:
    used_as: dict[str, Any] = django.CACHES["default"]
    if not issubclass(import_string(used_as["BACKEND"]), RedisCache):
        return good(f"Redis is not used: the cache is {used_as['BACKEND']}.")
    try:
        info = _info(_first(used_as["LOCATION"]))
        used, most = int(info["used_memory"]), int(info["maxmemory"])
        policy, evicted = str(info["maxmemory_policy"]), int(info["evicted_keys"])
        version = str(info["redis_version"])
    except (redis.RedisError, OSError) as error:
        return bad(
            f"Redis does not answer ({first_line(error)}).",
            next="docker compose ps --all redis",
        )
    except (ValueError, KeyError, TypeError):
        return bad(
            "Something that is not Redis answers at its address.", next="docker compose ps --all"
        )
    figures: dict[str, Figure] = {
        "version": version,
        "memory_mb": round(used / 1e6, 1),
        "maxmemory_mb": round(most / 1e6, 1),
        "policy": policy,
        "evicted": evicted,
    }
    if not most:
        return bad(
            "Redis has no maxmemory: it grows until the kernel ends it.",
            next=f"set REDIS_MAXMEMORY in .env, then: {RECREATE}",
            **figures,
        )
    if not policy.startswith("allkeys-"):
        return bad(
            f"Redis' eviction policy is {policy}: once it is full it refuses what is to be cached, "
            "and requests fail.",
            next=f"{RECREATE}   # compose.prod.yml starts it with allkeys-lru",
            **figures,
        )
    return good(
        f"Redis {version} answers: {used / 1e6:.0f} of {most / 1e6:.0f} MB, {policy}, "
        f"{evicted} keys evicted.",
        **figures,
    )


def _info(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(
        url,
        socket_connect_timeout=SECONDS,
        socket_timeout=SECONDS,
        # Its own would ask a frozen server again and again.
        retry=Retry(NoBackoff(), 0),
    ) as client:
        info: dict[str, Any] = client.info()
        return info


def _first(location: str | list[str]) -> str:
    """The one that is written to, as Django reads CACHES."""
    addresses = location.replace(";", ",").split(",") if isinstance(location, str) else location
    return addresses[0]
