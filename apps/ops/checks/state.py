"""What two colours and the worker share, and what must not be lost with a container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin
from django.core import checks
from django.core.files.storage import FileSystemStorage
from django.db.utils import load_backend
from django.utils.module_loading import import_string

from apps.ops.conf import IMAGE_STATIC

# Where compose.prod.yml mounts the volume that Caddy serves uploads from.
MEDIA_VOLUME = "/srv/media"
OUTSIDE_IMAGES = "unreleased"
# django-q2's guard, monitor and pusher; health questions; a deployment; psql on a bad night.
OTHER_CONNECTIONS = 20
SESSIONS = "django.contrib.sessions.backends"
CACHES_OF_ONE_CONTAINER = ("LocMemCache", "FileBasedCache", "DummyCache")


def database(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    default = settings.DATABASES["default"]
    if load_backend(default["ENGINE"]).DatabaseWrapper.vendor != "postgresql":
        yield checks.Error(
            f'DATABASES["default"] is {default["ENGINE"]}: the history, its lock and the task '
            "queue need PostgreSQL.",
            hint='Set "ENGINE": "django.db.backends.postgresql".',
            id="ops.E030",
        )
        return
    if default.get("OPTIONS", {}).get("prepare_threshold") is not None:
        yield checks.Error(
            'DATABASES["default"] prepares statements ("prepare_threshold"): after a migration '
            'the live colour\'s fail with "cached plan must not change result type".',
            hint='Take "prepare_threshold" out of "OPTIONS".',
            id="ops.E031",
        )
    if default.get("CONN_MAX_AGE") != 0 and not default.get("CONN_HEALTH_CHECKS"):
        yield checks.Error(
            'DATABASES["default"] keeps connections without checking them: after a restart of '
            "Postgres each one fails a request.",
            hint='Set "CONN_HEALTH_CHECKS": True.',
            id="ops.E032",
        )
    ops = settings.OPS
    needed = 2 * ops.web_workers * ops.web_threads + ops.worker_processes + OTHER_CONNECTIONS
    if needed > ops.postgres_max_connections:
        yield checks.Error(
            f"Two colours with {ops.web_workers} x {ops.web_threads} web threads each, the worker "
            f"and the tools can want {needed} connections, and POSTGRES_MAX_CONNECTIONS is "
            f"{ops.postgres_max_connections}: in a deployment visitors would get errors.",
            hint=f"Set POSTGRES_MAX_CONNECTIONS to {needed} or more, and recreate postgres.",
            id="ops.E037",
        )


def static(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    if settings.DEBUG:
        return  # Nothing collects files there; that it is on is an error of its own.
    backend = settings.STORAGES["staticfiles"]["BACKEND"]
    if not issubclass(import_string(backend), ManifestFilesMixin):
        yield checks.Error(
            f'STORAGES["staticfiles"] is {backend}, whose file names do not change with their '
            "content: pages of one release would get the styles and scripts of the other.",
            hint="Use django.contrib.staticfiles.storage.ManifestStaticFilesStorage.",
            id="ops.E033",
        )
    if _in_image() and Path(settings.STATIC_ROOT or "") != Path(IMAGE_STATIC):
        yield checks.Error(
            f"STATIC_ROOT is {str(settings.STATIC_ROOT)!r}: a deployment publishes what the image "
            f"has in {IMAGE_STATIC}, and would find nothing new there.",
            hint=f'Set STATIC_ROOT = BASE_DIR / "staticfiles", which is {IMAGE_STATIC} in the '
            "image.",
            id="ops.E034",
        )


def media(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    on_disk = issubclass(import_string(settings.STORAGES["default"]["BACKEND"]), FileSystemStorage)
    root = Path(settings.MEDIA_ROOT or "")
    if _in_image() and on_disk and not root.is_relative_to(MEDIA_VOLUME):
        yield checks.Error(
            f"MEDIA_ROOT is {str(settings.MEDIA_ROOT)!r}, inside the container: what users upload "
            "would be gone with the next deployment.",
            hint=f"Set MEDIA_ROOT={MEDIA_VOLUME}, the volume that both colours and Caddy mount.",
            id="ops.E035",
        )


def sessions(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    engine, alias = settings.SESSION_ENGINE, settings.SESSION_CACHE_ALIAS
    in_cache = engine == f"{SESSIONS}.cache"
    if engine == f"{SESSIONS}.file" or (in_cache and alias in _caches_of_one_container()):
        yield checks.Error(
            f"SESSION_ENGINE is {engine}, which keeps sessions inside one container: the swap "
            "would sign everybody out.",
            hint='Set SESSION_ENGINE = "apps.ops.sessions".',
            id="ops.E036",
        )
    elif in_cache:
        yield checks.Warning(
            f"SESSION_ENGINE is {engine}: the cache forgets when it is full or restarted, and "
            "signs people out.",
            hint='Set SESSION_ENGINE = "apps.ops.sessions".',
            id="ops.W007",
        )


def caches(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    for alias, backend in _caches_of_one_container().items():
        yield checks.Warning(
            f'CACHES["{alias}"] is {backend}: every container has its own, so what one colour '
            "changes or deletes stays in the other.",
            hint="Use apps.ops.cache.RedisCache.",
            id="ops.W006",
        )


def _caches_of_one_container() -> dict[str, str]:
    backends = {alias: cache["BACKEND"] for alias, cache in settings.CACHES.items()}
    return {a: b for a, b in backends.items() if b.rpartition(".")[2] in CACHES_OF_ONE_CONTAINER}


def _in_image() -> bool:
    # On a developer's machine these directories lie in the clone.
    return bool(settings.RELEASE != OUTSIDE_IMAGES)
