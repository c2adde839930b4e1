from __future__ import annotations

from django.db import models


class JobRun(models.Model):
    """One run of a line of the crontab. The database lets a run that is due exist once, so that two
    agents do nothing twice."""

    class Status(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        TIMED_OUT = "timed out", "timed out (ended at its deadline)"
        MISSED = "missed", "missed (nobody was there to run it)"
        SKIPPED = "skipped", "skipped (the run before it had not ended)"
        LOST = "lost", "lost (the agent died while it ran)"

    job = models.CharField(max_length=200, help_text="The command, as the crontab has it.")
    due = models.DateTimeField(help_text="When the crontab wanted it.")
    status = models.CharField(max_length=9, choices=Status, default=Status.RUNNING)
    agent = models.CharField(max_length=100, blank=True, help_text="The container that runs it.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.SmallIntegerField(null=True, blank=True)
    by_operations = models.BooleanField(
        db_default=False, editable=False, help_text="Not a run that the site wrote down itself."
    )
    output = models.TextField(blank=True, help_text="The last lines.")

    class Meta:
        ordering = ("-due", "-id")
        indexes = (models.Index(fields=("job", "-due")),)
        constraints = (
            models.UniqueConstraint(
                fields=("job", "due"),
                name="ops_a_job_is_due_once",
                violation_error_message="That run has been taken.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.job} ({self.due:%Y-%m-%d %H:%M}): {self.status}"
