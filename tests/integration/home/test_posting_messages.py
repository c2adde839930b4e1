from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django_q.brokers.orm import ORM
from django_q.models import OrmQ
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from apps.home.models import Message

pytestmark = pytest.mark.django_db

WORDS = {"name": "Ada", "text": "Good morning."}
GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")


def test_a_posted_message_is_queued_for_its_welcome_exactly_once(client: Client) -> None:
    response = client.post("/messages/", WORDS)

    assert (response.status_code, response.headers["Location"]) == (303, "/")
    message = Message.objects.get()
    assert (message.name, message.text) == ("Ada", "Good morning.")
    assert (message.welcomes, message.welcomed_at) == (0, None)
    task = OrmQ.objects.get().task
    assert (task["func"], task["args"]) == ("apps.home.tasks.welcome", (message.pk,))


def test_a_message_that_cannot_be_queued_is_not_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(broker: ORM, task: str) -> None:
        raise RuntimeError("the queue is full")

    monkeypatch.setattr(ORM, "enqueue", refuse)

    with pytest.raises(RuntimeError, match="the queue is full"):
        client.post("/messages/", WORDS)

    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_fails_takes_both_the_message_and_its_task_back(client: Client) -> None:
    with transaction.atomic():
        client.post("/messages/", WORDS)
        assert (Message.objects.count(), OrmQ.objects.count()) == (1, 1)
        transaction.set_rollback(True)

    assert (Message.objects.count(), OrmQ.objects.count()) == (0, 0)


def test_an_invalid_message_comes_back_with_its_errors_and_is_not_queued(client: Client) -> None:
    response = client.post("/messages/", {"name": "", "text": "Good morning."})

    page = response.content.decode()
    assert response.status_code == 422
    assert '<ul class="errorlist" id="id_name_error"><li>This field is required.</li></ul>' in page
    assert "Good morning.</textarea>" in page
    assert not Message.objects.exists()
    assert not OrmQ.objects.exists()


def test_a_message_from_another_site_is_refused() -> None:
    response = Client(enforce_csrf_checks=True).post("/messages/", WORDS)

    assert response.status_code == 403
    assert not Message.objects.exists()


def test_messages_are_only_posted(client: Client) -> None:
    assert client.get("/messages/").status_code == 405
    assert client.post("/").status_code == 405


def test_a_picture_is_kept_until_its_message_is_taken_down(
    client: Client,
    media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    upload = SimpleUploadedFile("my holiday.svg", GIF, content_type="image/svg+xml")
    client.post("/messages/", {**WORDS, "picture": upload})

    message = Message.objects.get()
    stored = Path(message.picture.path)
    assert re.fullmatch(r"pictures/[0-9a-f]{32}\.gif", str(stored.relative_to(media)))
    assert stored.read_bytes() == GIF
    assert f'src="{message.picture.url}"' in client.get("/").content.decode()

    with django_capture_on_commit_callbacks(execute=True):
        message.delete()
    assert not stored.exists()


def test_the_newest_fifty_messages_are_shown_newest_first_with_one_query(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Message.objects.bulk_create(Message(name=f"Guest {n}", text="Hello") for n in range(51))

    with django_assert_num_queries(1):
        page = client.get("/").content.decode()

    shown = re.findall(r"<strong>Guest (\d+)</strong>", page)
    assert shown == [str(n) for n in range(50, 0, -1)]


def test_what_guests_write_is_text_and_never_markup(client: Client) -> None:
    Message.objects.create(name="<b>Ada</b>", text="<script>alert(1)</script>")

    page = client.get("/").content.decode()

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;Ada&lt;/b&gt;" in page
