from __future__ import annotations

from django.db import models


class Check(models.Model):
    """What a health check says now. What it said before is in its flips: a row for each change,
    so that years of results stay small."""

    class Status(models.TextChoices):
        GOOD = "good"
        BAD = "bad"
        UNKNOWN = "unknown", "could not be measured"

    name = models.CharField(max_length=100, unique=True)
    status = models.CharField(max_length=7, choices=Status)
    summary = models.CharField("what was found", max_length=300, blank=True)
    next = models.CharField("what to type", max_length=300, blank=True)
    figures = models.JSONField(default=dict, blank=True)
    since = models.DateTimeField(help_text="Since when it has this status.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    told = models.CharField(
        max_length=7,
        choices=Status,
        blank=True,
        help_text="The status that people were told of last.",
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"


class Flip(models.Model):
    """A check's status changed. `was` is empty for the first result of all."""

    check_of = models.ForeignKey(Check, models.CASCADE, related_name="flips")
    was = models.CharField(max_length=7, choices=Check.Status, blank=True)
    status = models.CharField(max_length=7, choices=Check.Status)
    at = models.DateTimeField()
    summary = models.CharField("what was found", max_length=300, blank=True)

    class Meta:
        ordering = ("-at", "-id")
        indexes = (models.Index(fields=("check_of", "-at")),)

    def __str__(self) -> str:
        return f"{self.check_of.name}: {self.was or 'new'} to {self.status}"
