"""Asking for a deployment in the admin: a row, and nothing else."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops import freezes
from apps.ops.models import Deployment, JobRun, Release

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LIST = "/admin/ops/deployment/"
DEPLOY, ROLLBACK = f"{LIST}request/deploy/", f"{LIST}request/rollback/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False


def live(sha: str, subject: str) -> Release:
    release = Release.objects.create(sha=sha * 40, subject=subject)
    now = timezone.now()
    Deployment.objects.create(
        status="succeeded", ref="main", release=release, started_at=now, finished_at=now
    )
    return release


def staff(*permissions: str) -> User:
    user = User.objects.create_user("grace", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def queued() -> Deployment:
    return Deployment.objects.get(status="queued")


def test_a_deployment_is_asked_for_and_waits_in_the_list(client: Client) -> None:
    client.force_login(staff("add_deployment", "view_deployment"))

    page = client.post(DEPLOY, {"ref": "main"}, follow=True, HTTP_X_FORWARDED_FOR="198.51.100.9")

    row = queued()
    assert (row.kind, row.ref, row.requested_by) == ("deploy", "main", "grace")
    assert (row.requested_from, row.uid, row.started_at) == ("198.51.100.9", None, None)
    content = page.content.decode()
    assert f"#{row.pk} waits: the agent starts it within a few seconds." in content
    assert "ops-queued" in content


def test_the_form_offers_the_main_branch(admin_client: Client) -> None:
    assert 'value="main"' in admin_client.get(DEPLOY).content.decode()


@pytest.mark.parametrize("ref", ["", "--override", "a b", "x;y", "a..b", "x" * 300])
def test_what_is_no_ref_is_refused_with_a_sentence(admin_client: Client, ref: str) -> None:
    page = admin_client.post(DEPLOY, {"ref": ref})

    assert page.status_code == 200
    assert 'class="errorlist"' in page.content.decode()
    assert not Deployment.objects.exists()


def test_asked_for_twice_it_says_that_it_waits_already(admin_client: Client) -> None:
    admin_client.post(DEPLOY, {"ref": "main"})
    page = admin_client.post(DEPLOY, {"ref": "main"}).content.decode()

    assert f"That is asked for already: #{queued().pk} is queued." in page


def test_a_rollback_is_to_what_was_live_or_to_the_newest_stable_one(admin_client: Client) -> None:
    old, new = live("a", "Old"), live("b", "New")
    Release.objects.create(sha="c" * 40, subject="Never live")

    page = admin_client.get(ROLLBACK).content.decode()
    assert re.findall(r'<option value="(\w*)"', page) == ["", new.sha, old.sha]

    assert admin_client.post(ROLLBACK, {"ref": "c" * 40}).status_code == 200
    assert admin_client.post(ROLLBACK, {"ref": old.sha}).status_code == 302
    assert (queued().kind, queued().ref) == ("rollback", old.sha)
    Deployment.objects.filter(status="queued").delete()
    assert admin_client.post(ROLLBACK, {"ref": ""}).status_code == 302
    assert (queued().kind, queued().ref) == ("rollback", "")


def test_a_freeze_is_said_before_anybody_asks(admin_client: Client) -> None:
    until = timezone.now() + timedelta(days=1)
    freezes.freeze("Christmas market", by="ann", until=until)

    assert "Christmas market" in admin_client.get(DEPLOY).content.decode()
    # The way back is never frozen.
    assert "Christmas market" not in admin_client.get(ROLLBACK).content.decode()


def test_only_who_may_add_deployments_asks_for_one(client: Client) -> None:
    client.force_login(staff("view_deployment", "change_deployment"))

    assert "request/deploy/" not in client.get(LIST).content.decode()
    for address in (DEPLOY, ROLLBACK):
        assert client.get(address).status_code == 403
        assert client.post(address, {"ref": "main"}).status_code == 403
    assert not Deployment.objects.exists()


def test_who_is_not_logged_in_is_asked_to(client: Client) -> None:
    response = client.post(DEPLOY, {"ref": "main"})
    assert (response.status_code, Deployment.objects.exists()) == (302, False)
    assert response["Location"].startswith("/admin/login/")


def test_another_sites_page_cannot_ask_in_my_name() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff("add_deployment"))

    assert client.post(DEPLOY, {"ref": "main"}).status_code == 403
    assert not Deployment.objects.exists()


def test_looking_changes_nothing(admin_client: Client) -> None:
    for method in ("get", "head", "options", "put", "delete"):
        getattr(admin_client, method)(f"{DEPLOY}?ref=main")
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("forwarded", "recorded"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("2001:db8::7", "2001:db8::7"),
        # Behind the CDN: made up by the visitor, put there by the CDN, by Caddy.
        ("10.0.0.1, 198.51.100.9, 172.64.0.1", "198.51.100.9"),
        ("<script>", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_where_it_came_from_is_recorded(
    admin_client: Client, forwarded: str, recorded: str
) -> None:
    admin_client.post(DEPLOY, {"ref": "main"}, HTTP_X_FORWARDED_FOR=forwarded)
    assert queued().requested_from == recorded


def test_the_admin_shows_what_jobs_did_and_nobody_changes_it(admin_client: Client) -> None:
    now = timezone.now()
    run = JobRun.objects.create(
        job="manage.py backup_db",
        due=now,
        started_at=now,
        finished_at=now + timedelta(seconds=3),
        status="failed",
        exit_code=1,
        output="<b>no room</b>",
    )
    the_list, page = "/admin/ops/jobrun/", f"/admin/ops/jobrun/{run.pk}/change/"

    listed, shown = (admin_client.get(address).content.decode() for address in (the_list, page))

    assert "manage.py backup_db" in listed
    assert "ops-failed" in listed
    assert "3.0 s" in listed
    assert '<pre class="ops-output">&lt;b&gt;no room&lt;/b&gt;</pre>' in shown
    assert "_save" not in shown
    for address in (page, f"{the_list}add/", f"/admin/ops/jobrun/{run.pk}/delete/"):
        assert admin_client.post(address, {"status": "succeeded"}).status_code == 403
    run.refresh_from_db()
    assert run.status == "failed"


def test_what_waits_has_a_page(admin_client: Client) -> None:
    admin_client.post(ROLLBACK, {"ref": ""})
    page = admin_client.get(f"{LIST}{queued().pk}/change/").content.decode()
    assert "It waits to be started." in page
