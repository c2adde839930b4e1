from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops.models import Deployment, Release

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LIST = "/admin/ops/release/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False


def release(sha: str, subject: str = "A change", **fields: str) -> Release:
    return Release.objects.create(sha=sha.ljust(40, "0"), subject=subject, **fields)


def deploy(of: Release, status: str = "succeeded") -> Deployment:
    now = timezone.now()
    return Deployment.objects.create(
        status=status, exit_code=0, ref="main", release=of, started_at=now, finished_at=now
    )


def get(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def listed(client: Client, query: str = "") -> list[str]:
    return re.findall(r">(\w{12})</code></a>", get(client, f"{LIST}?{query}"))


def words(page: str) -> str:
    """What a reader sees."""
    body = page.partition('<div id="content"')[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_a_row_says_which_commit_and_image_and_how_its_deployments_went(
    admin_client: Client,
) -> None:
    new = release("aaaa", "Show the welcome", author="Ada", image=f"sha256:{'c' * 64}")
    first, _, last = deploy(new), deploy(new), deploy(new, "failed")

    page = words(get(admin_client, LIST))

    assert "aaaa00000000 Show the welcome Ada" in page
    assert f"cccccccccccc #{first.pk}, #{last.pk} ✗ failed" in page


def test_a_release_that_was_never_built_or_deployed_says_so(admin_client: Client) -> None:
    new = release("aaaa")

    assert "not built never" in words(get(admin_client, LIST))
    page = words(get(admin_client, f"{LIST}{new.pk}/change/"))
    assert "It was not built." in page
    assert "It was never deployed." in page


@pytest.mark.parametrize("term", ["aaaa0", "welcome", "Ada", "sha256:cccc"])
def test_a_search_finds_commits_subjects_authors_and_images(
    admin_client: Client, term: str
) -> None:
    release("bbbb", "Something else", author="Grace")
    release("aaaa", "Show the welcome", author="Ada", image=f"sha256:{'c' * 64}")

    assert listed(admin_client, f"q={term}") == ["aaaa00000000"]


def test_it_can_be_filtered_by_whether_it_went_live(admin_client: Client) -> None:
    live, failed = release("aaaa"), release("bbbb")
    deploy(live)
    deploy(failed, "failed")

    assert listed(admin_client) == ["bbbb00000000", "aaaa00000000"]
    assert listed(admin_client, "live=yes") == ["aaaa00000000"]
    assert listed(admin_client, "live=never") == ["bbbb00000000"]


def test_its_page_lists_its_deployments(admin_client: Client) -> None:
    new = release("aaaa", "Show the welcome", author="Ada", image=f"sha256:{'c' * 64}")
    first, last = deploy(new), deploy(new, "failed")
    other = deploy(release("bbbb"))

    page = get(admin_client, f"{LIST}{new.pk}/change/")

    for said in (
        f"Commit {new.sha}",
        f"Image sha256:{'c' * 64}",
        f"First deployment #{first.pk}",
        f"Last deployment #{last.pk}",
        "Its deployments: 2",
    ):
        assert said in words(page)
    assert f'href="/admin/ops/deployment/{first.pk}/change/"' in page
    assert f"/deployment/{other.pk}/" not in page


def test_deployments_are_not_shown_to_who_may_not_view_them(client: Client) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_release"))
    client.force_login(user)
    new = release("aaaa")
    deploy(new)

    assert "/admin/ops/deployment/" not in get(client, f"{LIST}{new.pk}/change/")


def test_what_was_written_by_others_is_text_and_nothing_else(admin_client: Client) -> None:
    hostile = "<script>alert(1)</script>"
    new = release("aaaa", hostile, author=hostile, image=hostile)

    for address in (LIST, f"{LIST}{new.pk}/change/"):
        page = get(admin_client, address)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page)


def test_an_empty_list_says_where_releases_come_from(admin_client: Client) -> None:
    assert "the first deployment makes one" in get(admin_client, LIST)
    assert "No release matches." in get(admin_client, f"{LIST}?q=nothing-like-it")
