from __future__ import annotations

from django.db import models


class Purge(models.Model):
    """A purge of the CDN or of the site's own cache: who asked, for what, how it ended."""

    class Status(models.TextChoices):
        RUNNING = "running"
        PURGED = "purged"
        PARTLY = "partly", "partly purged"
        FAILED = "failed", "failed (nothing was purged)"

    status = models.CharField(max_length=7, choices=Status, default=Status.RUNNING)
    where = models.CharField(max_length=300, help_text="The CDN's zone, or redis.")
    what = models.JSONField(
        default=dict,
        blank=True,
        help_text="What was asked for, the first hundred of each kind.",
    )
    total = models.PositiveIntegerField(default=0, help_text="How many operations it takes.")
    purged = models.PositiveIntegerField(default=0, help_text="How many of them were accepted.")
    left = models.JSONField(
        default=list, blank=True, help_text="The first hundred that were not purged."
    )
    reason = models.CharField(max_length=200, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    requested_from = models.CharField(max_length=200, blank=True)
    deployment_uid = models.CharField(
        max_length=30, blank=True, help_text="The deployment that it came after."
    )
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"#{self.pk} {self.where}: {self.status}"
