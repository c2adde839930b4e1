from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q


class Deployment(models.Model):
    """One entry of the history: who asked for what, how it went. Nothing is decided from it.

    A terminal status never changes: a trigger in the database refuses it (migration 0001), so that
    no code path, admin action or shell can rewrite what happened.
    """

    class Kind(models.TextChoices):
        DEPLOY = "deploy"
        ROLLBACK = "rollback"

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed (traffic never moved)"
        ROLLED_BACK = "rolled back", "rolled back (traffic moved and moved back)"
        INTERRUPTED = "interrupted", "interrupted"

    TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.ROLLED_BACK, Status.INTERRUPTED)

    # Names its journal too, where it is known before Postgres answers; old rows have none.
    uid = models.CharField(max_length=30, unique=True, null=True, blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.DEPLOY)
    status = models.CharField(max_length=12, choices=Status, default=Status.QUEUED)
    ref = models.CharField("asked for", max_length=250)
    release = models.ForeignKey(
        "ops.Release", models.PROTECT, null=True, blank=True, related_name="deployments"
    )
    previous_release = models.ForeignKey(
        "ops.Release", models.PROTECT, null=True, blank=True, related_name="followed_by"
    )
    color = models.CharField("colour", max_length=5, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    requested_from = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    swapped_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField("what was found", blank=True)
    traffic = models.CharField("what it meant for the traffic", max_length=300, blank=True)
    next = models.CharField("what to type", max_length=300, blank=True)
    commits = models.JSONField(
        default=list,
        blank=True,
        help_text="The commits that came with it, newest first.",
    )
    commits_total = models.PositiveIntegerField(default=0)
    warnings = models.JSONField(default=list, blank=True)
    # `db_default`, because the release before this column still writes rows, too.
    migrations = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text="The migrations that came with it: how each was judged, and its SQL.",
    )
    bake = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="What was measured after the swap, and what it was held against.",
    )
    override = models.CharField(
        "overruled",
        max_length=300,
        db_default="",
        blank=True,
        help_text="The freeze or the gate that whoever asked for it overruled.",
    )

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("status", "-id")),
            models.Index(fields=("-created_at",)),
        )
        constraints = (
            models.UniqueConstraint(
                "status",
                condition=Q(status="running"),
                name="ops_one_running_deployment",
                violation_error_message="Another deployment is running.",
            ),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=False)
                | ~Q(status__in=("succeeded", "failed", "rolled back", "interrupted")),
                name="ops_terminal_deployment_is_finished",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.kind} {self.ref}: {self.status}"

    @property
    def duration(self) -> timedelta | None:
        if self.started_at and self.finished_at:
            return self.finished_at - self.started_at
        return None
