from __future__ import annotations

from django.db import models
from django.utils import timezone


class Canary(models.Model):
    """A canary task's question and the worker's answer, in plain columns: what django-q2 keeps of a
    task are pickles, and whoever reads one runs what it says."""

    uid = models.CharField(max_length=32, primary_key=True)
    sent_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)
    release = models.CharField(
        max_length=40, blank=True, help_text="What the worker says that it runs: a claim."
    )

    class Meta:
        verbose_name_plural = "canaries"

    def __str__(self) -> str:
        return self.uid
