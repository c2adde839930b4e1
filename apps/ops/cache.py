"""Django's cache on Redis, for a Redis that can hang: after a time-out it is left alone a while.

Each request that asks a frozen server waits for a time-out, and soon all threads wait. So one
time-out is enough for all threads of a process: until PAUSE_SECONDS later all others fail at once,
and then one of them asks again. What fails is redis' own error, as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from threading import Lock
from time import monotonic
from typing import Any

import redis
from django.core.cache.backends import redis as djangos

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
# What took this long and failed hung, whatever the failure: looking its name up can hang, too.
SLOW_SECONDS = 1.0


class Breaker:
    """Whether a server is asked at all. One for all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._not_before: float | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Raises redis.TimeoutError, at once, while the server is left alone."""
        begun = monotonic()
        with self._lock:
            if self._not_before is not None:
                if begun < self._not_before:
                    raise redis.TimeoutError("It hung a moment ago, and is left alone for now.")
                # This one tries; the others go on without until it knows.
                self._not_before = begun + PAUSE_SECONDS
        try:
            yield
        except redis.RedisError:
            if monotonic() - begun >= SLOW_SECONDS:
                self._open()
            raise
        if self._not_before is not None:
            self._not_before = None
            logger.warning("Redis answers again")

    def _open(self) -> None:
        with self._lock:
            is_new = self._not_before is None
            self._not_before = monotonic() + PAUSE_SECONDS
        if is_new:
            logger.warning(
                "Redis hangs: for %g s it is not asked, again and again until it answers",
                PAUSE_SECONDS,
            )


# Each thread has a cache object of its own.
@cache
def _breaker(servers: tuple[str, ...]) -> Breaker:
    return Breaker()


def _guarded(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def asked(client: Client, *arguments: Any) -> Any:
        with client.breaker.asking():
            return ask(client, *arguments)

    return asked


class Client(djangos.RedisCacheClient):
    def __init__(self, servers: list[str], **options: Any) -> None:
        super().__init__(servers, **options)
        self.breaker = _breaker(tuple(servers))

    add = _guarded(djangos.RedisCacheClient.add)
    get = _guarded(djangos.RedisCacheClient.get)
    set = _guarded(djangos.RedisCacheClient.set)
    touch = _guarded(djangos.RedisCacheClient.touch)
    delete = _guarded(djangos.RedisCacheClient.delete)
    get_many = _guarded(djangos.RedisCacheClient.get_many)
    has_key = _guarded(djangos.RedisCacheClient.has_key)
    incr = _guarded(djangos.RedisCacheClient.incr)
    set_many = _guarded(djangos.RedisCacheClient.set_many)
    delete_many = _guarded(djangos.RedisCacheClient.delete_many)
    clear = _guarded(djangos.RedisCacheClient.clear)


class RedisCache(djangos.RedisCache):
    def __init__(self, server: str | list[str], params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = Client
