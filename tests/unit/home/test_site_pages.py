from __future__ import annotations

import pytest
from django.template.loader import get_template
from django.test import Client
from pytest_django import Settings

SHA = "3f2c9a17d04b5e86a1c7f0e2b94d6853c1aa77e0"


def test_the_footer_says_which_release_and_which_colour_answered(
    client: Client, settings: Settings
) -> None:
    settings.RELEASE, settings.COLOR = SHA, "green"

    page = client.get("/nowhere/").content.decode()

    assert f'Release <span data-release="{SHA}" title="{SHA}">3f2c9a17d04b</span>' in page
    assert "<span data-color>green</span>" in page


def test_a_missing_page_leads_back_to_the_guest_book(client: Client) -> None:
    response = client.get("/nowhere/")

    assert response.status_code == 404
    assert '<a href="/">Back to the guest book</a>' in response.content.decode()


def test_the_error_page_needs_no_context_and_no_static_manifest(settings: Settings) -> None:
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": manifest}}

    assert "Something went wrong" in get_template("500.html").render()


def test_the_about_page_is_made_anew_while_redis_is_away(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    nobody_listens = "redis://127.0.0.1:1/0"
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": nobody_listens}}

    response = client.get("/about/")

    assert response.status_code == 200
    assert "About this site" in response.content.decode()
    assert "/about/ is not cached" in caplog.text
