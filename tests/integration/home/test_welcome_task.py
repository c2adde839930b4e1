from __future__ import annotations

import pytest
from django.test import Client
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from apps.home.models import Message
from apps.home.tasks import welcome

pytestmark = pytest.mark.django_db


def test_the_queued_task_welcomes_its_message(client: Client) -> None:
    client.post("/messages/", {"name": "Ada", "text": "Good morning."})
    task = OrmQ.objects.get().task

    import_string(task["func"])(*task["args"], **task["kwargs"])

    message = Message.objects.get()
    assert message.welcomes == 1
    assert message.welcomed_at is not None


def test_a_task_that_runs_twice_shows_and_touches_no_other_message() -> None:
    message, other = (Message.objects.create(name=name, text="Hello") for name in ("Ada", "Grace"))

    welcome(message.pk)
    welcome(message.pk)

    assert list(Message.objects.values_list("name", "welcomes")) == [("Grace", 0), ("Ada", 2)]
    assert other.welcomed_at is None


def test_a_message_that_is_gone_does_not_make_its_task_fail() -> None:
    welcome(404)
