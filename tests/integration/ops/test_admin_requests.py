"""Asking for something in the admin: a row, and nothing else."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops import freezes
from apps.ops.models import Deployment, JobRun, Release, Request, SecurityEvent
from tests.conftest import OpsSettingsFactory

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LIST = "/admin/ops/deployment/"
DEPLOY, ROLLBACK = f"{LIST}request/deploy/", f"{LIST}request/rollback/"
KINDS = ("deploy", "rollback", "cancel", "freeze", "unfreeze")

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


def asked() -> Request:
    return Request.objects.get(outcome="")


def test_a_deployment_is_asked_for_and_waits_in_the_list(client: Client) -> None:
    client.force_login(staff("request_deploy", "view_request"))

    page = client.post(DEPLOY, {"ref": "main"}, follow=True, HTTP_X_FORWARDED_FOR="198.51.100.9")

    row = asked()
    assert (row.kind, row.ref, row.requested_by) == ("deploy", "main", "grace")
    assert (row.requested_from, row.outcome, row.deployment) == ("198.51.100.9", "", None)
    content = page.content.decode()
    assert "It is asked for: the agent takes it up within a few seconds." in content
    assert "ops-waiting" in content
    assert "grace, through the site" in content
    assert not Deployment.objects.exists()


def test_the_form_offers_the_main_branch(admin_client: Client) -> None:
    assert 'value="main"' in admin_client.get(DEPLOY).content.decode()


@pytest.mark.parametrize("ref", ["", "--override", "a b", "x;y", "a..b", "x" * 300])
def test_what_is_no_ref_is_refused_with_a_sentence(admin_client: Client, ref: str) -> None:
    page = admin_client.post(DEPLOY, {"ref": ref})

    assert page.status_code == 200
    assert 'class="errorlist"' in page.content.decode()
    assert not Request.objects.exists()


def test_asked_for_twice_it_says_that_it_waits_already(admin_client: Client) -> None:
    admin_client.post(DEPLOY, {"ref": "main"})
    page = admin_client.post(DEPLOY, {"ref": "main"}).content.decode()

    assert asked().ref == "main"
    assert "That is asked for already, and waits." in page


def test_a_rollback_is_to_what_was_live_or_to_the_newest_stable_one(admin_client: Client) -> None:
    old, new = live("a", "Old"), live("b", "New")
    Release.objects.create(sha="c" * 40, subject="Never live")

    page = admin_client.get(ROLLBACK).content.decode()
    assert re.findall(r'<option value="(\w*)"', page) == ["", new.sha, old.sha]

    assert admin_client.post(ROLLBACK, {"ref": "c" * 40}).status_code == 200
    assert admin_client.post(ROLLBACK, {"ref": old.sha}).status_code == 302
    assert (asked().kind, asked().ref) == ("rollback", old.sha)
    Request.objects.all().delete()
    assert admin_client.post(ROLLBACK, {"ref": ""}).status_code == 302
    assert (asked().kind, asked().ref) == ("rollback", "")


def test_a_freeze_is_said_before_anybody_asks(
    admin_client: Client, ops_settings: OpsSettingsFactory
) -> None:
    state_dir = ops_settings().state_dir
    until = timezone.now() + timedelta(days=1)
    freezes.freeze("Christmas market", by="ann", until=until, state_dir=state_dir)
    freezes.publish(state_dir)

    assert "Christmas market" in admin_client.get(DEPLOY).content.decode()
    unfreeze = admin_client.get(f"{LIST}request/unfreeze/").content.decode()
    assert "Christmas market" in unfreeze
    assert "It will be refused" not in unfreeze
    # The way back is never frozen.
    assert "Christmas market" not in admin_client.get(ROLLBACK).content.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_each_act_has_a_permission_of_its_own(client: Client, kind: str) -> None:
    others = [f"request_{other}" for other in KINDS if other != kind]
    client.force_login(
        staff("view_deployment", "view_freeze", "add_deployment", "change_deployment", *others)
    )

    listed = "".join(client.get(page).content.decode() for page in (LIST, "/admin/ops/freeze/"))
    assert sorted(re.findall(r"request/(\w+)/", listed)) == sorted(set(KINDS) - {kind})
    address = f"{LIST}request/{kind}/"
    assert client.get(address).status_code == 403
    assert client.post(address, {"ref": "main", "reason": "x"}).status_code == 403
    assert not Request.objects.exists()
    denied = SecurityEvent.objects.filter(event="permission denied", username="grace")
    assert denied.first().detail == f"POST {address}"


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_one_permission_may_do_that(client: Client, kind: str) -> None:
    client.force_login(staff(f"request_{kind}"))
    row = Deployment.objects.create(ref="other", requested_by="ann, through the site")
    ref = {"deploy": "main", "cancel": str(row.pk)}.get(kind, "")

    answer = client.post(f"{LIST}request/{kind}/", {"ref": ref, "reason": "audit"})

    assert answer.status_code == 302
    assert asked().kind == kind
    assert SecurityEvent.objects.get(event="asked").detail.startswith(kind)


def test_a_freeze_has_a_reason_and_may_have_an_end(admin_client: Client) -> None:
    freeze = f"{LIST}request/freeze/"
    for wrong in ({}, {"reason": "x", "until": "2020-01-01T08:00"}, {"reason": "x" * 201}):
        assert "errorlist" in admin_client.post(freeze, wrong).content.decode()
    until = (timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)

    admin_client.post(freeze, {"reason": "market", "until": f"{until:%Y-%m-%dT%H:%M}"})

    assert (asked().reason, asked().until) == ("market", until)


def test_what_was_asked_for_in_a_shell_is_not_offered_to_be_cancelled(admin_client: Client) -> None:
    Deployment.objects.create(ref="main", requested_by="ann")
    here = Deployment.objects.create(ref="main", requested_by="ann, through the site")
    address = f"{LIST}request/cancel/"

    page = admin_client.get(address).content.decode()

    assert re.findall(r'<option value="(\w*)"', page) == [str(here.pk)]


def test_a_ref_that_is_not_allowed_is_refused_on_the_page_and_logged(admin_client: Client) -> None:
    page = admin_client.post(DEPLOY, {"ref": "evil"}).content.decode()

    assert "may not be asked for through the site, only main" in page
    assert not Request.objects.exists()


def test_who_is_not_logged_in_is_asked_to(client: Client) -> None:
    response = client.post(DEPLOY, {"ref": "main"})
    assert (response.status_code, Request.objects.exists()) == (302, False)
    assert response["Location"].startswith("/admin/login/")


def test_another_sites_page_cannot_ask_in_my_name() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff("request_deploy"))

    assert client.post(DEPLOY, {"ref": "main"}).status_code == 403
    assert not Request.objects.exists()


def test_looking_changes_nothing(admin_client: Client) -> None:
    for method in ("get", "head", "options", "put", "delete"):
        getattr(admin_client, method)(f"{DEPLOY}?ref=main")
    assert not Request.objects.exists()


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
    assert asked().requested_from == recorded


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


def test_what_was_answered_has_a_page_with_the_answer(admin_client: Client) -> None:
    admin_client.post(ROLLBACK, {"ref": ""})
    row = asked()
    Request.objects.update(outcome="refused", answer="<b>No</b> release.", requested_by="<i>")

    page = admin_client.get(f"/admin/ops/request/{row.pk}/change/").content.decode()

    assert "&lt;b&gt;No&lt;/b&gt; release." in page
    assert "&lt;i&gt;, through the site" in page
    assert "_save" not in page
    for kind in ("request", "securityevent"):
        the_list = f"/admin/ops/{kind}/"
        assert admin_client.get(the_list).status_code == 200
        for path in ("add/", f"{row.pk}/change/", f"{row.pk}/delete/"):
            assert admin_client.post(f"{the_list}{path}", {"answer": "x"}).status_code in (403, 302)
    row.refresh_from_db()
    assert row.answer == "<b>No</b> release."


def test_what_waits_has_a_page(admin_client: Client) -> None:
    row = Deployment.objects.create(ref="main", requested_by="ann, through the site")
    page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
    assert "It waits to be started." in page
