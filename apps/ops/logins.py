"""Logins: throttled, logged, and fresh for what moves traffic.

The security log is what is counted in. A library's own counters would be a second place for the
same facts, which the web had to be allowed to change and to delete.
"""

from __future__ import annotations

from datetime import timedelta
from time import time
from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from apps.ops import security_log
from apps.ops.models import SecurityEvent
from apps.ops.requester import printable
from apps.ops.security_log import Event
from apps.ops.visitor import address_of, group_of

WINDOW = timedelta(minutes=15)
# Wrong passwords within WINDOW. The first locks a name for one address, so that nobody locks others
# out; the second an address that tries many names.
NAME_AND_ADDRESS = 5
ADDRESS = 30
# When many addresses try one name, only those pass that it has logged in from lately.
NAME = 50
KNOWN = timedelta(days=30)
LOCKED_OUT = (
    "Too many wrong passwords. Try again in 15 minutes, or from where you have logged in before."
)
_FRESH = "ops_password_at"
_REFUSED = "ops_locked_out"


class Throttle:
    """An authentication backend that knows nobody. Before the others, it stops them."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, **credentials: Any
    ) -> None:
        """Raises PermissionDenied, which ends the attempt, when there were too many."""
        if request is not None and username and is_locked_out(username, _origin(request)):
            setattr(request, _REFUSED, True)
            raise PermissionDenied


class LoginForm(AdminAuthenticationForm):
    def get_invalid_login_error(self) -> ValidationError:
        if was_locked_out(self.request):
            return ValidationError(LOCKED_OUT, code="locked_out")
        return super().get_invalid_login_error()


def is_locked_out(username: str, origin: str) -> bool:
    """Args: origin: as `group_of` an address."""
    username = printable(username)[:150]
    now = timezone.now()
    failed = SecurityEvent.objects.filter(event=Event.LOGIN_FAILED, at__gt=now - WINDOW)
    by_name, by_address = Q(username=username), Q(address=origin)
    counted = failed.filter(by_name | by_address).aggregate(
        both=Count("pk", filter=by_name & by_address),
        address=Count("pk", filter=by_address),
        name=Count("pk", filter=by_name),
    )
    if counted["both"] >= NAME_AND_ADDRESS or counted["address"] >= ADDRESS:
        return True
    if counted["name"] < NAME:
        return False
    logins = SecurityEvent.objects.filter(event=Event.LOGIN, at__gt=now - KNOWN)
    return not logins.filter(by_name & by_address).exists()


def was_locked_out(request: HttpRequest | None) -> bool:
    return getattr(request, _REFUSED, False)


def is_fresh(request: HttpRequest) -> bool:
    """Whether the password was given lately enough for what moves traffic."""
    age = time() - float(request.session.get(_FRESH, 0))
    return 0 <= age < float(settings.OPS.fresh_password_seconds)


def mark_fresh(request: HttpRequest) -> None:
    request.session[_FRESH] = time()


@receiver(user_logged_in)
def _logged_in(request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
    mark_fresh(request)
    _record(Event.LOGIN, user.get_username(), request)


@receiver(user_logged_out)
def _logged_out(request: HttpRequest, user: AbstractBaseUser | None, **kwargs: Any) -> None:
    if user is not None:
        _record(Event.LOGOUT, user.get_username(), request)


@receiver(user_login_failed)
def _failed(credentials: dict[str, Any], request: HttpRequest | None = None, **kw: Any) -> None:
    username = str(credentials.get("username", ""))
    if not was_locked_out(request):
        _record(Event.LOGIN_FAILED, username, request)
        return
    # Once: who goes on trying must not fill the log, and push out what it knows.
    told = SecurityEvent.objects.filter(
        event=Event.LOCKED_OUT,
        username=printable(username)[:150],
        address=_origin(request),
        at__gt=timezone.now() - WINDOW,
    )
    _record(Event.LOCKED_OUT, username, request, row=not told.exists())


def _record(event: Event, username: str, request: HttpRequest | None, *, row: bool = True) -> None:
    address = address_of(request) if request is not None else ""
    origin = group_of(address)
    detail = address if origin != address else ""
    security_log.record(event, username=username, address=origin, detail=detail, row=row)


def _origin(request: HttpRequest | None) -> str:
    return group_of(address_of(request)) if request is not None else ""
