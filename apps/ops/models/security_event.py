from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class SecurityEvent(models.Model):
    """A line of the security log, which the containers' logs have, too. The web adds rows and
    changes none."""

    class Event(models.TextChoices):
        LOGIN = "login"
        LOGIN_FAILED = "login failed"
        LOCKED_OUT = "locked out"
        LOGOUT = "logout"
        PASSWORD_CONFIRMED = "password confirmed"  # noqa: S105  (a name, not a password)
        ASKED = "asked"
        REFUSED = "refused"
        DENIED = "permission denied"

    at = models.DateTimeField("when", db_default=Now())
    event = models.CharField(max_length=20, choices=Event)
    username = models.CharField("who", max_length=150, blank=True)
    address = models.CharField("from where", max_length=45, blank=True)
    detail = models.CharField("what", max_length=300, blank=True)

    class Meta:
        ordering = ("-id",)
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=("event", "-at")),
            models.Index(fields=("username", "event", "-at")),
        )

    def __str__(self) -> str:
        return f"{self.event}: {self.username}"
