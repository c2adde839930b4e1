"""Django's sessions in the database and the cache, which need the database only.

Django's own end in an error when the cache does not answer, at a visit as at a sign-in or -out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import cached_db
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from redis import RedisError

logger = logging.getLogger(__name__)


class SessionStore(cached_db.SessionStore):
    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._cache = _AsIfEmpty(caches[settings.SESSION_CACHE_ALIAS])


class _AsIfEmpty(BaseCache):
    """A cache that has nothing while it cannot be reached."""

    def __init__(self, cache: BaseCache) -> None:
        super().__init__({})
        self._behind = cache

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return _or(default, lambda: self._behind.get(key, default, version))

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        _or(None, lambda: self._behind.set(key, value, timeout, version))

    def delete(self, key: str, version: int | None = None) -> bool:
        return bool(_or(False, lambda: self._behind.delete(key, version)))

    def has_key(self, key: str, version: int | None = None) -> bool:
        return bool(_or(False, lambda: self._behind.has_key(key, version)))


def _or(instead: Any, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except RedisError as error:
        logger.info("sessions are without their cache: %s", error)
        return instead
