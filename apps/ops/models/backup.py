from __future__ import annotations

from django.db import models


class Backup(models.Model):
    """A dump of the database in the backup directory. It is good once it is `verified`: the file
    was read back, its checksum agreed and pg_restore could list it."""

    class Status(models.TextChoices):
        RUNNING = "running"
        VERIFIED = "verified"
        FAILED = "failed"
        REMOVED = "removed", "removed (kept no longer)"

    name = models.CharField(max_length=100, unique=True, help_text="The file in OPS_BACKUP_DIR.")
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    reason = models.CharField(max_length=200, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    release = models.ForeignKey("ops.Release", models.SET_NULL, null=True, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    size = models.BigIntegerField(default=0, help_text="In bytes.")
    sha256 = models.CharField("SHA-256", max_length=64, blank=True)
    media_size = models.BigIntegerField(default=0, help_text="In bytes; 0: without media.")
    media_sha256 = models.CharField("SHA-256 of the media", max_length=64, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"
