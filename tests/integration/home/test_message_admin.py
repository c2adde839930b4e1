from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.home.models import Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def welcomed() -> list[Message]:
    """Messages that were welcomed never, once, and two and three times."""
    return [Message.objects.create(name=f"Guest {n}", text="Hello", welcomes=n) for n in range(4)]


def listed(admin_client: Client, query: str) -> list[str]:
    page = admin_client.get(f"/admin/home/message/?{query}").content.decode()
    return re.findall(r">#\d+ (Guest \d)</a>", page)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Guest 3", "Guest 2", "Guest 1", "Guest 0"]),
        ("welcomed=never", ["Guest 0"]),
        ("welcomed=once", ["Guest 1"]),
        ("welcomed=repeatedly", ["Guest 3", "Guest 2"]),
        ("q=Guest+2", ["Guest 2"]),
    ],
)
def test_lost_and_doubled_welcomes_can_be_listed(
    admin_client: Client, welcomed: list[Message], query: str, names: list[str]
) -> None:
    assert listed(admin_client, query) == names


def test_the_list_shows_pictures_and_its_queries_do_not_grow_with_it(admin_client: Client) -> None:
    def page_with(count: int) -> tuple[str, int]:
        Message.objects.bulk_create(
            Message(name="Ada", text="Hello", picture="pictures/1.gif") for _ in range(count)
        )
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get("/admin/home/message/").content.decode()
        return page, len(queries)

    _, queries_for_one = page_with(1)
    page, queries_for_all = page_with(30)

    assert page.count('<img src="/media/pictures/1.gif" alt="" height="40" loading="lazy">') == 31
    assert queries_for_all == queries_for_one


def test_a_message_can_be_read_and_taken_down_but_not_written(
    admin_client: Client, welcomed: list[Message]
) -> None:
    message = welcomed[0]
    address = f"/admin/home/message/{message.pk}"

    assert admin_client.get("/admin/home/message/add/").status_code == 403
    assert admin_client.get(f"{address}/change/").status_code == 200
    assert admin_client.post(f"{address}/change/", {"name": "Mallory"}).status_code == 403
    assert admin_client.post(f"{address}/delete/", {"post": "yes"}).status_code == 302
    assert not Message.objects.filter(pk=message.pk).exists()
