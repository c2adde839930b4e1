from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops.models import Deployment, Release

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
KINDS = ("deployment", "release")

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False


@pytest.fixture
def row() -> Deployment:
    now = timezone.now()
    return Deployment.objects.create(
        status="failed",
        exit_code=1,
        ref="main",
        release=Release.objects.create(sha="a" * 40),
        started_at=now,
        finished_at=now,
    )


@pytest.fixture
def keys(row: Deployment) -> dict[str, int]:
    assert row.release_id is not None
    return {"deployment": row.pk, "release": row.release_id}


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_adds_changes_or_deletes_not_even_a_superuser(
    admin_client: Client, keys: dict[str, int], kind: str
) -> None:
    the_list = f"/admin/ops/{kind}/"
    address = f"{the_list}{keys[kind]}"
    before = (Deployment.objects.values().get(), Release.objects.values().get())

    for method, path in (
        ("get", f"{the_list}add/"),
        ("post", f"{the_list}add/"),
        ("post", f"{address}/change/"),
        ("get", f"{address}/delete/"),
        ("post", f"{address}/delete/"),
    ):
        body = {"status": "succeeded", "sha": "b" * 40, "post": "yes"}
        assert getattr(admin_client, method)(path, body).status_code == 403, path

    chosen = {"action": "delete_selected", "_selected_action": str(keys[kind]), "post": "yes"}
    admin_client.post(the_list, chosen)

    assert (Deployment.objects.values().get(), Release.objects.values().get()) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_offers_what_it_would_refuse(
    admin_client: Client, keys: dict[str, int], kind: str
) -> None:
    for path in (f"/admin/ops/{kind}/", f"/admin/ops/{kind}/{keys[kind]}/change/"):
        content = admin_client.get(path).content.decode().partition('<div id="content"')[2]
        for offer in ("_save", 'name="action"', "addlink", "deletelink", "/add/", "/delete/"):
            assert offer not in content, (path, offer)


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_view_is_said_by_djangos_view_permissions(
    client: Client, keys: dict[str, int], kind: str
) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    client.force_login(user)
    paths = (f"/admin/ops/{kind}/", f"/admin/ops/{kind}/{keys[kind]}/change/")

    assert [client.get(path).status_code for path in paths] == [403, 403]

    user.user_permissions.add(Permission.objects.get(codename=f"view_{kind}"))

    assert [client.get(path).status_code for path in paths] == [200, 200]


def test_a_number_that_does_not_exist_leads_back(admin_client: Client) -> None:
    assert admin_client.get("/admin/ops/deployment/4711/change/").status_code == 302
    assert admin_client.get("/admin/ops/deployment/nonsense/change/").status_code == 302
