"""Logins to the admin: throttled, logged, and fresh for what moves traffic."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops import logins, security_log
from apps.ops.models import Request, SecurityEvent

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LOGIN, DEPLOY = "/admin/login/", "/admin/ops/deployment/request/deploy/"
PASSWORD = "a long and good one"
HERE, THERE = "198.51.100.9", "203.0.113.7"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS; with passwords that are quick to check."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def grace() -> User:
    return User.objects.create_superuser("grace", password=PASSWORD)


def log_in(password: str, *, name: str = "grace", address: str = HERE) -> tuple[bool, str]:
    """Whether it let them in, and the page."""
    form = {"username": name, "password": password}
    page = Client().post(LOGIN, form, HTTP_X_FORWARDED_FOR=address)
    return page.status_code == 302, page.content.decode()


def events(event: str) -> int:
    return SecurityEvent.objects.filter(event=event).count()


def fail(times: int, *, name: str = "grace", address: str = HERE) -> None:
    SecurityEvent.objects.bulk_create(
        SecurityEvent(event="login failed", username=name, address=address) for _ in range(times)
    )


def test_after_five_wrong_passwords_the_right_one_is_of_no_use_from_there(grace: User) -> None:
    for _ in range(5):
        assert "correct username and password" in log_in("wrong")[1]

    let_in, page = log_in(PASSWORD)

    assert not let_in
    assert "Too many wrong passwords. Try again in 15 minutes" in page
    # Nobody is locked out by somebody else.
    assert log_in(PASSWORD, address=THERE)[0]


def test_after_a_quarter_of_an_hour_it_is(grace: User) -> None:
    fail(5)
    assert not log_in(PASSWORD)[0]
    SecurityEvent.objects.update(at=timezone.now() - logins.WINDOW)
    assert log_in(PASSWORD)[0]


def test_an_address_that_tries_many_names_is_locked_for_all(grace: User) -> None:
    for number in range(logins.ADDRESS):
        fail(1, name=f"name-{number}")
    assert not log_in(PASSWORD)[0]
    assert log_in(PASSWORD, address=THERE)[0]


def test_of_ipv6_a_network_counts_as_one(grace: User) -> None:
    for number in range(5):
        log_in("wrong", address=f"2001:db8:1:2::{number}")
    assert not log_in(PASSWORD, address="2001:db8:1:2:ffff::1")[0]
    assert log_in(PASSWORD, address="2001:db8:1:3::1")[0]


def test_when_the_world_tries_a_name_it_is_let_in_from_where_it_has_been(grace: User) -> None:
    assert log_in(PASSWORD)[0]
    for number in range(logins.NAME):
        fail(1, address=f"192.0.2.{number}")

    assert log_in(PASSWORD)[0]
    assert not log_in(PASSWORD, address=THERE)[0]
    SecurityEvent.objects.filter(event="login").update(at=timezone.now() - logins.KNOWN)
    assert not log_in(PASSWORD)[0]


def test_a_made_up_address_is_not_believed(grace: User) -> None:
    """Caddy drops what a visitor sends; behind the CDN it stands further to the left."""
    for number in range(5):
        log_in("wrong", address=f"10.0.0.{number}, {HERE}, 172.64.0.1")
    assert not log_in(PASSWORD, address=f"10.9.9.9, {HERE}, 172.64.0.1")[0]


def test_who_goes_on_trying_does_not_fill_the_log(
    grace: User, caplog: pytest.LogCaptureFixture
) -> None:
    fail(5)
    caplog.set_level("INFO", "security")
    for _ in range(7):
        log_in("wrong")

    assert (events("login failed"), events("locked out")) == (5, 1)
    assert sum("locked out" in message for message in caplog.messages) == 7


def test_what_happens_is_one_line_of_json_each_and_never_a_password(
    grace: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "security")
    log_in("a-secret-that-was-wrong", name="gr\x1b[2Jace\u2028")
    log_in(PASSWORD)

    lines = [json.loads(message) for message in caplog.messages]
    assert [line["event"] for line in lines] == ["login failed", "login"]
    assert lines[0]["username"] == "gr [2Jace"
    assert lines[1] == {"event": "login", "username": "grace", "address": HERE}
    assert all(message.isprintable() for message in caplog.messages)
    assert "secret" not in caplog.text
    assert PASSWORD not in caplog.text


def test_a_log_that_cannot_be_written_keeps_nobody_out(grace: User) -> None:
    security_log.record(security_log.Event.ASKED, username="x" * 500, detail="\x00" * 500)
    assert SecurityEvent.objects.get().username == "x" * 150


def test_the_log_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_log, "KEPT", 3)
    fail(5)
    security_log.prune()
    assert SecurityEvent.objects.count() == 3


@pytest.fixture
def stale(grace: User, settings: Settings) -> Client:
    """Logged in, with a password that was given too long ago."""
    client = Client(headers={"X-Forwarded-For": HERE})
    client.force_login(grace)
    session = client.session
    session["ops_password_at"] -= settings.OPS.fresh_password_seconds + 1
    session.save()
    return client


def test_what_moves_traffic_wants_the_password_again_once_it_is_old(stale: Client) -> None:
    assert 'type="password"' in stale.get(DEPLOY).content.decode()
    for without in ({}, {"password": ""}, {"password": "wrong"}):
        page = stale.post(DEPLOY, {"ref": "main", **without}).content.decode()
        assert "errorlist" in page
    assert not Request.objects.exists()
    assert events("login failed") == 1

    assert stale.post(DEPLOY, {"ref": "main", "password": PASSWORD}).status_code == 302

    assert Request.objects.get().ref == "main"
    assert events("password confirmed") == 1
    assert 'type="password"' not in stale.get(DEPLOY).content.decode()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("rollback", True), ("cancel", True), ("unfreeze", True), ("freeze", False)],
)
def test_to_freeze_needs_no_fresh_password_and_the_rest_does(
    stale: Client, kind: str, wanted: bool
) -> None:
    page = stale.get(f"/admin/ops/deployment/request/{kind}/").content.decode()
    assert ('type="password"' in page) == wanted


def test_passwords_are_not_guessed_on_that_page_either(stale: Client) -> None:
    for _ in range(5):
        stale.post(DEPLOY, {"ref": "main", "password": "wrong"})

    page = stale.post(DEPLOY, {"ref": "main", "password": PASSWORD}).content.decode()

    assert "Too many wrong passwords" in page
    assert not Request.objects.exists()


def test_a_session_that_never_told_or_tells_of_the_future_is_not_fresh(
    stale: Client, grace: User
) -> None:
    for at in (None, timezone.now().timestamp() + timedelta(days=1).total_seconds()):
        session = stale.session
        session.pop("ops_password_at", None)
        if at:
            session["ops_password_at"] = at
        session.save()
        assert 'type="password"' in stale.get(DEPLOY).content.decode()


def test_sessions_of_before_the_throttle_stay_logged_in(grace: User) -> None:
    client = Client()
    client.force_login(grace, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/admin/").status_code == 200
