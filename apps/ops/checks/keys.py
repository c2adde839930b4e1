"""Secrets that are missing or weak or can be guessed, and the switch that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks

MIN_KEY_LENGTH = 50  # As Django's security.W009 has it.
THROTTLE = "apps.ops.logins.Throttle"


def secrets(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    if settings.DEBUG:
        yield checks.Error(
            "DEBUG is on: error pages would show the settings and the code to everybody, and "
            "static files would have no hashes.",
            hint="Take DEBUG out of .env.",
            id="ops.E040",
        )
        return
    if (length := len(settings.SECRET_KEY)) < MIN_KEY_LENGTH:
        yield checks.Error(
            f"SECRET_KEY has {length} characters: who guesses it signs in as anybody, and queues "
            "tasks that run any code.",
            hint="Set it to what `openssl rand -base64 48` prints. Let the task queue run empty "
            "first: queued tasks are signed with it.",
            id="ops.E041",
        )
    if not settings.DATABASES["default"].get("PASSWORD"):
        yield checks.Error(
            "POSTGRES_PASSWORD is empty.",
            hint="Set it to what the database was created with; for a new one, to what "
            "`openssl rand -hex 24` prints.",
            id="ops.E042",
        )


def logins(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    if settings.AUTHENTICATION_BACKENDS[0] != THROTTLE:
        yield checks.Warning(
            f"AUTHENTICATION_BACKENDS begins with {settings.AUTHENTICATION_BACKENDS[0]}: passwords "
            "can be tried without an end.",
            hint=f'Put "{THROTTLE}" before the others.',
            id="ops.W008",
        )
