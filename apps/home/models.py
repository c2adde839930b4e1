from __future__ import annotations

import secrets
from functools import partial
from pathlib import PurePath

from django.db import models, transaction
from django.db.models import Q
from django.db.models.signals import post_delete
from django.dispatch import receiver


def picture_path(message: Message, filename: str) -> str:
    """A random name: the client's could collide, mislead, or tell more than its owner meant to.

    The suffix is not the client's either: `PictureField` takes it from the picture's content.
    """
    return f"pictures/{secrets.token_hex(16)}{PurePath(filename).suffix}"


class Message(models.Model):
    """An entry of the guest book. `welcomes` is 1 unless its task was lost (0) or ran twice (2)."""

    name = models.CharField(max_length=80)
    text = models.TextField("message", max_length=2000)
    picture = models.ImageField(upload_to=picture_path, blank=True)
    created_at = models.DateTimeField("posted", auto_now_add=True)
    welcomes = models.PositiveIntegerField(default=0, editable=False)
    welcomed_at = models.DateTimeField("welcomed", null=True, editable=False)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("created_at",), name="home_message_created_at"),
            # Only the exceptions are looked for, and they are few: so is what this index holds.
            models.Index(
                fields=("welcomes",),
                condition=~Q(welcomes=1),
                name="home_message_not_welcomed_once",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.name}"


@receiver(post_delete, sender=Message)
def take_down_picture(instance: Message, **kwargs: object) -> None:
    """Anybody who knows its address can see a picture: it goes with its message."""
    if instance.picture:
        transaction.on_commit(partial(instance.picture.delete, save=False))
