from django.db.models import F
from django.db.models.functions import Now

from apps.home.models import Message


def welcome(message_id: int) -> None:
    """Welcome a message, if it is still there.

    The database counts, so that a task that ran twice shows as 2 and a lost one as 0.
    """
    Message.objects.filter(pk=message_id).update(welcomes=F("welcomes") + 1, welcomed_at=Now())
