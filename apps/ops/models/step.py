from __future__ import annotations

from datetime import timedelta

from django.db import models


class Step(models.Model):
    """A step of a deployment. Its row is written before it acts: a row that still says "running"
    when nobody holds the lock is what an interrupted deploy left."""

    class Status(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        UNDONE = "undone"

    deployment = models.ForeignKey("ops.Deployment", models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=30)
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    summary = models.CharField(max_length=300, blank=True)
    output = models.TextField(blank=True, help_text="Its last lines, without secrets.")

    class Meta:
        ordering = ("deployment", "position")
        constraints = (
            models.UniqueConstraint(
                fields=("deployment", "position"), name="ops_step_position_is_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.position}. {self.name}: {self.status}"

    @property
    def duration(self) -> timedelta | None:
        return self.finished_at - self.started_at if self.finished_at else None
