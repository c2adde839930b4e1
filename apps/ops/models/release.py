from __future__ import annotations

from django.db import models


class Release(models.Model):
    """A commit that was to be deployed: git has the code, Docker the image, this remembers."""

    sha = models.CharField("commit", max_length=40, unique=True)
    subject = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=200, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    image = models.CharField("image digest", max_length=80, blank=True)
    # Every migration in its image, "app.name": whether its code runs on a schema is told from it.
    # Null when it never came as far as preflight.
    migrations = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.short} {self.subject}".strip()

    @property
    def short(self) -> str:
        return self.sha[:12]


class Packages(models.Model):
    """What a release's image has, as `stack.inventory` reads it; in a table of its own, because
    lists of releases do not need it and it is long."""

    release = models.OneToOneField(Release, models.CASCADE, primary_key=True)
    inventory = models.JSONField()

    class Meta:
        verbose_name_plural = "packages"

    def __str__(self) -> str:
        return f"packages of {self.release_id}"
