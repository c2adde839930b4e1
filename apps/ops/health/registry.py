"""Which checks there are: the project's own ones, and those that a setting names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from time import monotonic
from typing import Any

from django.utils.module_loading import import_string

from apps.ops.conf import OpsSettings
from apps.ops.deadlines import side_by_side
from apps.ops.health.checks import ALL
from apps.ops.health.result import HealthCheck, Result, unknown
from apps.ops.health.runner import one_line

MAX_NAME = 100


class NoSuchCheck(Exception):
    """Names what was asked for and what there is."""


def configured(settings: OpsSettings) -> list[HealthCheck]:
    """Every check, the built-in ones first. One that cannot be loaded is there, too: it says why
    when it looks. They are loaded within `settings.health_seconds`."""
    checks = {check.name: check for check in ALL}
    paths = settings.health_checks
    jobs = [partial(import_string, path) for path in paths]
    loaded = side_by_side(jobs, until=[monotonic() + settings.health_seconds] * len(jobs))
    for path, found in zip(paths, loaded, strict=True):
        check = _check(path, found)
        if check.name in checks:
            check = HealthCheck(path[:MAX_NAME], check.look, check.hung, check.next)
        checks[check.name] = check
    return list(checks.values())


def choose(names: Sequence[str], settings: OpsSettings) -> list[HealthCheck]:
    """The checks of these names, all of them without a name.

    Raises:
        NoSuchCheck: there is none of that name.
    """
    checks = configured(settings)
    require_known(names, [check.name for check in checks])
    return [check for check in checks if not names or check.name in names]


def require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises NoSuchCheck for a name that is not known."""
    for name in names:
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            hint = f" Did you mean {meant[0]}?" if meant else ""
            there = ", ".join(known) or "none yet"
            raise NoSuchCheck(f'There is no check "{one_line(name)}".{hint} There are: {there}.')


def _check(path: str, found: Any) -> HealthCheck:
    """The check of what a path led to, or of what its module raised, whatever that is."""
    if isinstance(found, TimeoutError):
        return _broken(path, f"{path} cannot be loaded: it did not load in time.")
    if isinstance(found, BaseException):
        return _broken(path, f"{path} cannot be loaded: {type(found).__name__}: {found}")
    if isinstance(found, HealthCheck):
        return found
    if callable(found):
        name = getattr(found, "__name__", "").strip("_").replace("_", "-")
        return HealthCheck(name[:MAX_NAME] or path[:MAX_NAME], found)
    return _broken(path, f"{path} is neither a HealthCheck nor a function.")


def _broken(path: str, why: str) -> HealthCheck:
    def look(settings: OpsSettings) -> Result:
        return unknown(why, next="OPS_HEALTH_CHECKS in .env: correct the path")

    return HealthCheck(path[:MAX_NAME], look)
