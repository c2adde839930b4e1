from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Freeze(models.Model):
    """While one is in force, deployments are refused: who wants that, why, and until when.

    At most one has not been lifted; one whose `until` has passed is no longer in force. This is a
    copy to be looked at: what counts lies on the state volume (freezes.py).
    """

    uid = models.CharField(max_length=30, unique=True, null=True, blank=True, editable=False)
    reason = models.CharField(max_length=200)
    frozen_by = models.CharField(max_length=150, blank=True)
    frozen_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(lifted_at__isnull=True),
                name="ops_one_freeze",
                violation_error_message="Deployments are frozen already.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.frozen_by}: {self.reason}"
