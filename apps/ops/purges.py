"""Purging the CDN and the site's own cache: what is to be purged, and a row for each purge."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.cache.backends.base import default_key_func
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.ops.cdn.answers import CdnAway, CdnRefused
from apps.ops.cdn.cloudflare import Cloudflare, Zone
from apps.ops.cdn.operations import EVERYTHING, Kind, Operation, batches, prefix, url
from apps.ops.conf import OpsSettings
from apps.ops.deadlines import within
from apps.ops.errors import OpsError, Refused
from apps.ops.models import Purge
from apps.ops.processes import Say
from apps.ops.redact import Redactor
from apps.ops.requester import Requester

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

# A free plan takes five requests a minute after its first 25: a hundred take a quarter of an hour.
PURGE_SECONDS = 1800.0
RECORD_SECONDS = 5.0
KEPT = 100
# More than these are handed on in a file: a shell's line has an end.
MAX_TYPED = 10
MAX_FILES = 10
SCAN_KEYS = 1000
PARTLY = 6
REDIS = "redis"


@dataclass(kw_only=True)
class Purged:
    """How a purge ended.

    Attributes:
        total: operations that were to be purged; for Redis, keys that were found.
        left: the operations that Cloudflare did not accept, as far as it said so.
        number: of its row; None when Postgres did not take it.
    """

    where: str
    total: int = 0
    purged: int = 0
    left: list[Operation] = field(default_factory=list)
    error: OpsError | None = None
    number: int | None = None
    is_everything: bool = False

    @property
    def status(self) -> Purge.Status:
        if self.error is None:
            return Purge.Status.PURGED
        return Purge.Status.PARTLY if self.purged else Purge.Status.FAILED

    @property
    def exit_code(self) -> int:
        return {Purge.Status.PURGED: 0, Purge.Status.PARTLY: PARTLY}.get(self.status, 1)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Why it is purged, for how long at most, and who hears of it.

    `seconds`: for everything. `stop`: once set, nothing more is begun. `first_wait`: seconds before
    the second try of a request.
    """

    reason: str = "by hand"
    deployment_uid: str = ""
    seconds: float = PURGE_SECONDS
    first_wait: float = 1.0
    stop: Event = field(default_factory=Event)
    say: Say = lambda line: None


def page(settings: OpsSettings, path: str) -> Operation:
    """A page or file of the site, by its path or whole address, as OPS_PURGE_PATHS has them.

    Raises:
        Refused: it is neither.
    """
    if not path.startswith(("/", "http://", "https://")):
        raise Refused(
            f"OPS_PURGE_PATHS has {path!r}, which is no path of the site.",
            next='write it like "/about/", in .env',
        )
    return url(urljoin(_site(settings), path))


def public(settings: OpsSettings, name: str) -> Operation:
    """All of STATIC_URL or MEDIA_URL.

    Args:
        name: "STATIC_URL" or "MEDIA_URL".

    Raises:
        Refused: it is the whole site.
    """
    address = urljoin(_site(settings), getattr(django_settings, name) or "/")
    if urlsplit(address).path in ("", "/"):
        raise Refused(
            f"{name} is {getattr(django_settings, name)!r}: that would be the whole site.",
            next="manage.py purge_cache --everything",
        )
    return prefix(address)


def _site(settings: OpsSettings) -> str:
    return f"{django_settings.SITE_SCHEME}://{settings.site_host}/"


def purge_cdn(settings: OpsSettings, operations: Sequence[Operation], asked: Asked) -> Purged:
    """Purge at the CDN, and record it. Works with Postgres down.

    Returns:
        How it ended. What went wrong is in it; nothing an operator can cause is raised.
    """
    wanted = list(dict.fromkeys(operations))
    outcome = Purged(
        where=settings.cloudflare_zone or "Cloudflare",
        total=len(wanted),
        is_everything=EVERYTHING in wanted,
    )
    what = {
        kind.value: [o.value for o in wanted if o.kind is kind][:KEPT]
        for kind in Kind
        if any(o.kind is kind for o in wanted)
    }
    with _recorded(settings, outcome, what, asked):
        try:
            client = cloudflare(settings, asked)
            zone = client.zone(settings.cloudflare_zone)
        except OpsError as error:
            outcome.error, outcome.left = error, wanted
        else:
            _send(client, zone, wanted, outcome, asked.say)
    return outcome


def cloudflare(settings: OpsSettings, asked: Asked) -> Cloudflare:
    """Raises OpsError: the token or the address cannot be used."""
    return Cloudflare(
        token=settings.cloudflare_token,
        api=settings.cloudflare_api,
        seconds=asked.seconds,
        stop=asked.stop,
        say=asked.say,
        first_wait=asked.first_wait,
    )


def _send(
    client: Cloudflare, zone: Zone, wanted: Sequence[Operation], outcome: Purged, say: Say
) -> None:
    """Each batch by itself: what was accepted is not sent again because of another."""
    is_over = False
    for batch in batches(wanted):
        if is_over:
            outcome.left += batch
            continue
        try:
            client.purge(zone, batch[0].kind, [o.value for o in batch if o.value])
        except (CdnRefused, CdnAway) as error:
            outcome.left += batch
            outcome.error = outcome.error or error
            is_over = not (isinstance(error, CdnRefused) and error.is_about_request)
        else:
            outcome.purged += len(batch)
            if outcome.total > len(batch):
                say(f"{outcome.purged:,} of {outcome.total:,} purged")


def purge_redis(settings: OpsSettings, asked: Asked) -> Purged:
    """Remove every key of the site's own cache, by its prefix, and record it.

    Others' keys stay. Sessions lose their copies; their rows are in the database.

    Returns:
        How it ended, as `purge_cdn`.
    """
    # Imported here: every deployment has this module, and redis takes a tenth of a second.
    from redis import RedisError

    outcome = Purged(where=REDIS)
    key_prefix = caches["default"].key_prefix
    with _recorded(settings, outcome, {REDIS: [key_prefix]}, asked):
        try:
            _clear(outcome, time.monotonic() + asked.seconds, asked.stop)
        except OpsError as error:
            outcome.error = error
        except RedisError as error:
            outcome.error = OpsError(
                f"Redis does not answer as it should ({type(error).__name__}).",
                next="docker compose ps --all redis",
            )
    return outcome


def _clear(outcome: Purged, deadline: float, stop: Event) -> None:
    cache = caches["default"]
    if not isinstance(cache, RedisCache) or cache.key_func is not default_key_func:
        raise Refused(
            "The site's cache is not Django's on Redis with its own form of keys.",
            next="clear it as that cache says",
        )
    if not cache.key_prefix:
        raise Refused(
            "The cache has no KEY_PREFIX: its keys cannot be told from others'.",
            next="set COMPOSE_PROJECT_NAME in .env, which is the prefix",
        )
    # Django's own connection, set up as the site's is: it has no public name.
    client: Redis = cache._cache.get_client(None, write=True)  # noqa: SLF001
    # A key is prefix:version:name; the prefix is meant as it stands.
    pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", cache.key_prefix) + ":*"
    cursor = 0
    while True:
        if stop.is_set() or time.monotonic() >= deadline:
            raise OpsError(
                "It was asked to stop." if stop.is_set() else "The time for this purge is up.",
                next="manage.py purge_cache --redis",
            )
        answer: Any = client.scan(cursor, match=pattern, count=SCAN_KEYS)
        cursor, keys = answer
        outcome.total += len(keys)
        if keys:
            removed: Any = client.unlink(*keys)
            outcome.purged += removed
        if not cursor:
            break
    # A key that was found twice, or that went by itself, is not left.
    outcome.total = outcome.purged


def rest_command(settings: OpsSettings, left: Sequence[Operation], *, zone: str = "") -> str:
    """What to type for what is left. Many are written into a file beside the journal.

    Args:
        zone: where it is not the one of the settings.
    """
    command = f"manage.py purge_cache{f' --zone {shlex.quote(zone)}' if zone else ''}"
    if len(left) <= MAX_TYPED:
        return f"{command} {' '.join(o.words for o in left)}"
    directory = settings.state_dir / "purges"
    try:
        return f"{command} @{_write_down(directory, left)}"
    except OSError:
        some = " ".join(o.words for o in left[:MAX_TYPED])
        return f"{command} {some}   # and {len(left) - MAX_TYPED:,} more"


def _write_down(directory: Path, left: Sequence[Operation]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"left-{time.time_ns()}"
    path.write_text("".join(f"{o.argument}\n" for o in left))
    for old in sorted(directory.glob("left-*"))[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path


@contextmanager
def _recorded(
    settings: OpsSettings, outcome: Purged, what: dict[str, list[str]], asked: Asked
) -> Iterator[None]:
    """A row before it begins, which says at the end how it went; without Postgres, none."""
    row = Purge(
        where=outcome.where[:300],
        what=what,
        total=outcome.total,
        reason=" ".join(asked.reason.encode(errors="replace").decode().split())[:200],
        deployment_uid=asked.deployment_uid[:30],
        started_at=timezone.now(),
    )
    for name, value in Requester.now(settings).as_fields().items():
        setattr(row, name, value[:150])
    in_database(lambda: _begin(row))
    try:
        yield
    except BaseException as error:
        outcome.error = outcome.error or OpsError(f"{type(error).__name__}: {error}")
        raise
    finally:
        if outcome.error:
            Redactor.from_environment().clean_error(outcome.error)
        row.status, row.exit_code = outcome.status, outcome.exit_code
        row.total, row.purged = outcome.total, outcome.purged
        row.left = [o.argument for o in outcome.left[:KEPT]]
        row.error = outcome.error.found if outcome.error else ""
        row.finished_at = timezone.now()
        if in_database(row.save):
            outcome.number = row.pk


def _begin(row: Purge) -> None:
    # One that was killed says nothing itself: the deadline of all has passed, or its deployment is
    # being finished by another process.
    lost = Q(started_at__lt=timezone.now() - timedelta(seconds=2 * PURGE_SECONDS))
    if row.deployment_uid:
        lost |= Q(deployment_uid=row.deployment_uid)
    Purge.objects.filter(lost, status=Purge.Status.RUNNING).update(
        status=Purge.Status.PARTLY,
        exit_code=PARTLY,
        finished_at=timezone.now(),
        error="Its process ended without a word: how much was purged is not known.",
    )
    row.save()


def in_database(act: Callable[[], object]) -> bool:
    """Do something in Postgres, and wait no longer than RECORD_SECONDS for it; whether it was
    done."""

    def work() -> None:
        try:
            act()
        finally:
            connection.close()

    try:
        within(RECORD_SECONDS, work)
    except Exception as error:
        # Whatever it is: a purge is not given up for its row.
        logger.debug("not recorded: %s", error)
        return False
    return True
