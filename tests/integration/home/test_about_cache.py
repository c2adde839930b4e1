from __future__ import annotations

from uuid import uuid4

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.test import Client
from django.utils.cache import get_cache_key


@pytest.fixture
def address() -> str:
    """The page at an address of this test's own, so that no earlier run has cached it."""
    return f"/about/?{uuid4()}"


def test_the_about_page_is_made_once_a_minute(client: Client, address: str) -> None:
    first, second = client.get(address), client.get(address)

    assert [bool(response.templates) for response in (first, second)] == [True, False]
    assert first.content == second.content
    assert first.headers["Cache-Control"] == "max-age=60"


def test_a_cached_page_belongs_to_one_release_and_colour(client: Client, address: str) -> None:
    request: WSGIRequest = client.get(address).wsgi_request

    def cached(release: str, color: str) -> bool:
        return get_cache_key(request, key_prefix=f"{release}.{color}") is not None

    assert cached(settings.RELEASE, settings.COLOR)
    assert not cached("0" * 40, settings.COLOR)
    assert not cached(settings.RELEASE, "another")
