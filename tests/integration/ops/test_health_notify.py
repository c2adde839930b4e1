"""Who is told of a change: by real HTTP and SMTP, once, and never with an address in the words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_string
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from pytest_django import Settings

from apps.ops.conf import OpsSettings
from apps.ops.health import rounds, state
from apps.ops.health.notify import channels
from apps.ops.health.result import Result, Status, bad, good, unknown
from apps.ops.health.runner import Finding
from tests.integration.ops.listeners import HUNG_SECONDS, Mail, Web, serving

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory

SECRET = "T000-B000-very-secret"

# Threads of their own write into Postgres.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web() -> Iterator[Web]:
    yield from serving(Web())


@pytest.fixture
def other_web() -> Iterator[Web]:
    yield from serving(Web())


@pytest.fixture
def mail(settings: Settings) -> Iterator[Mail]:
    for server in serving(Mail()):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.DEFAULT_FROM_EMAIL = "ops@example.org"
        yield server


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


DOWN = bad("Nobody <answers> & all.", next="docker compose logs caddy")
UP = good("It answers.")


def round_of(
    settings: OpsSettings, whole: bool = True, later: float = 0.0, **results: Result
) -> list[str]:
    """A round of checks with these results, `later` seconds after the one before; its warnings."""
    if later:
        with state.changing(settings.state_dir) as known:
            for check in known.values():
                check.since -= timedelta(seconds=later)
                check.measured_since -= timedelta(seconds=later)
                check.restless -= timedelta(seconds=later)
                check.last_seen -= timedelta(seconds=later)
    findings = [Finding(name, result, 0.1) for name, result in results.items()]
    rounds.remember(findings, settings, whole=whole)
    return rounds.pass_on(settings, until=monotonic() + 5, findings=findings, whole=whole)


def test_what_has_been_bad_for_long_enough_is_told_once_and_so_is_its_end(
    ops_settings: OpsSettingsFactory, web: Web
) -> None:
    ops = ops_settings(
        notify_webhooks=(web.address(f"/{SECRET}"),),
        notify_after_seconds=120.0,
        site_host="example.org",
    )
    told = []
    for result in (UP, DOWN, DOWN, DOWN, DOWN, DOWN, UP, UP, UP, UP):
        assert round_of(ops, later=60, caddy=result) == []
        told.append(len(web.requests))

    assert told == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    (_, path, first), (_, _, second) = web.requests
    assert path == f"/{SECRET}"
    assert first["site"] == "example.org"
    assert first["checks"][0]["name"] == "caddy"
    assert first["checks"][0]["status"] == "bad"
    assert first["checks"][0]["next"] == "docker compose logs caddy"
    assert first["text"].startswith("[example.org] bad: caddy\nBAD: caddy, since 20")
    assert second["checks"][0]["status"] == "good"


def test_a_flap_is_not_told(ops_settings: OpsSettingsFactory, web: Web) -> None:
    ops = ops_settings(notify_webhooks=(web.address("/"),), notify_after_seconds=120.0)

    for _ in range(5):
        round_of(ops, later=60, caddy=DOWN)
        round_of(ops, later=60, caddy=UP)

    assert web.requests == []


def test_what_flaps_while_it_is_told_is_told_once(
    ops_settings: OpsSettingsFactory, web: Web
) -> None:
    ops = ops_settings(notify_webhooks=(web.address("/"),), notify_after_seconds=120.0)

    for result in (DOWN, DOWN, DOWN, *(UP, DOWN) * 5, unknown("Who knows?"), DOWN):
        round_of(ops, later=60, caddy=result)

    assert len(web.requests) == 1


def test_several_changes_at_the_same_time_are_one_message(
    ops_settings: OpsSettingsFactory, web: Web, other_web: Web, mail: Mail
) -> None:
    ops = ops_settings(
        notify_emails=("ada@example.org", "grace@example.org"),
        notify_webhooks=(web.address("/hook"),),
        notify_slack=(other_web.address(f"/services/{SECRET}"),),
        notify_after_seconds=0.0,
        site_host="example.org",
    )

    assert round_of(ops, caddy=DOWN, redis=DOWN, disk=UP) == []
    assert round_of(ops, caddy=DOWN, redis=DOWN, disk=UP) == []

    assert len(web.requests) == len(other_web.requests) == len(mail.messages) == 1
    assert [c["name"] for c in web.requests[0][2]["checks"]] == ["caddy", "redis"]
    slack = other_web.requests[0][2]
    assert list(slack) == ["text"]
    assert slack["text"].startswith("*[example.org] bad: caddy, redis*\n")
    assert "Nobody &lt;answers&gt; &amp; all." in slack["text"]
    to, text = mail.messages[0]
    message = message_from_string(text)
    assert to == ["ada@example.org", "grace@example.org"]
    assert message["Subject"] == "[example.org] bad: caddy, redis"
    assert "Nobody <answers> & all. Next: docker compose logs caddy" in message.get_payload()


def test_a_channel_that_fails_is_tried_again_and_the_others_are_not_told_twice(
    ops_settings: OpsSettingsFactory, web: Web, other_web: Web
) -> None:
    ops = ops_settings(
        notify_webhooks=(web.address("/a"), other_web.address(f"/{SECRET}")),
        notify_after_seconds=0.0,
    )
    other_web.answer = 500

    (warning,) = round_of(ops, caddy=DOWN)
    assert warning == (
        "Not told: webhook at 127.0.0.1: it answered 500. The next round tries again."
    )
    other_web.answer = 204
    assert round_of(ops, caddy=DOWN) == []
    assert round_of(ops, caddy=DOWN) == []

    assert len(web.requests) == 1
    assert len(other_web.requests) == 2


def test_a_redirect_is_not_followed(ops_settings: OpsSettingsFactory, web: Web) -> None:
    ops = ops_settings(notify_webhooks=(web.address("/hook"),), notify_after_seconds=0.0)
    web.answer = 302

    (warning,) = round_of(ops, caddy=DOWN)

    assert "it answered 302" in warning
    assert [path for _, path, _ in web.requests] == ["/hook"]


def test_channels_that_hang_hold_up_nobody_for_long(
    ops_settings: OpsSettingsFactory, web: Web, silent: int, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", silent, 1
    hung = f"http://user:{SECRET}@127.0.0.1:{silent}/{SECRET}?key={SECRET}"
    ops = ops_settings(
        notify_emails=("ada@example.org",),
        notify_webhooks=(hung, web.address("/hook")),
        notify_slack=(hung,),
        ping_url=hung,
        notify_after_seconds=0.0,
    )

    begun = monotonic()
    warnings = round_of(ops, caddy=DOWN)

    assert monotonic() - begun < HUNG_SECONDS
    assert len(warnings) == 4
    assert all("it did not answer in time" in warning for warning in warnings)
    assert SECRET not in "".join(warnings)
    assert len(web.requests) == 1, "the others are told"
    told = state.load(ops.state_dir)["caddy"].told
    assert list(told.values()) == ["bad"]


def test_what_a_slow_channel_takes_is_waited_for(settings: Settings) -> None:
    """Else it would get the same message in every round."""
    assert max(settings.EMAIL_TIMEOUT, channels.REQUEST_SECONDS) < rounds.NOTIFY_SECONDS


@pytest.mark.parametrize(
    "address",
    [
        f"http://127.0.0.1:1/{SECRET}",
        f"http://nowhere.invalid/{SECRET}",
        f"ftp://127.0.0.1/{SECRET}",
        f"http://[{SECRET}",
        f"{SECRET}",
        f"http://127.0.0.1:{SECRET}/",
    ],
)
def test_an_address_is_never_shown_whatever_is_wrong_with_it(
    ops_settings: OpsSettingsFactory, address: str
) -> None:
    ops = ops_settings(
        notify_webhooks=(address,),
        notify_slack=(address,),
        ping_url=address,
        notify_after_seconds=0.0,
    )

    warnings = round_of(ops, caddy=DOWN)

    assert len(warnings) == 3
    assert all(warning.startswith("Not told: ") for warning in warnings)
    assert SECRET not in "".join(warnings)
    assert SECRET not in (ops.state_dir / state.FILE).read_text()


def test_a_mail_server_that_refuses_is_a_warning(
    ops_settings: OpsSettingsFactory, mail: Mail
) -> None:
    ops = ops_settings(notify_emails=("ada@example.org",), notify_after_seconds=0.0)
    mail.answer = "554 no"

    (warning,) = round_of(ops, caddy=DOWN)

    assert "e-mail: the mail server refused it (554)" in warning
    mail.answer = "250 ok"
    assert round_of(ops, caddy=DOWN) == []
    assert len(mail.messages) == 1


def test_without_a_mail_server_nobody_is_thought_to_be_told(
    ops_settings: OpsSettingsFactory, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = channels.NO_MAIL
    ops = ops_settings(notify_emails=("ada@example.org",), notify_after_seconds=0.0)

    (warning,) = round_of(ops, caddy=DOWN)

    assert "Set EMAIL_URL" in warning
    assert state.load(ops.state_dir)["caddy"].told == {}


def test_the_ping_says_after_each_whole_round_how_it_went(
    ops_settings: OpsSettingsFactory, web: Web
) -> None:
    ops = ops_settings(ping_url=web.address("/ping/uuid?rid=1"), notify_after_seconds=1e6)

    for result in (UP, DOWN, unknown("Who knows?")):
        assert round_of(ops, caddy=result) == []
    assert round_of(ops, whole=False, caddy=DOWN) == []

    assert [path for _, path, _ in web.requests] == [
        "/ping/uuid?rid=1",
        "/ping/uuid/fail?rid=1",
        "/ping/uuid?rid=1",
    ]


def not_remembered(ops: OpsSettings, **results: Result) -> None:
    findings = [Finding(name, result, 0.1) for name, result in results.items()]
    with pytest.raises(OSError, match="state"):
        rounds.remember(findings, ops, whole=True)
    warnings = rounds.pass_on(
        ops, until=monotonic() + 5, findings=findings, whole=True, remembered=False
    )
    assert warnings == []


def test_without_a_state_directory_what_is_bad_is_told_all_the_same(
    ops_settings: OpsSettingsFactory, web: Web, other_web: Web
) -> None:
    ops = ops_settings(ping_url=web.address("/ping"), notify_webhooks=(other_web.address("/"),))
    ops.state_dir.write_text("a file")

    not_remembered(ops, caddy=UP, disk=DOWN)
    not_remembered(ops, caddy=UP)

    assert [path for _, path, _ in web.requests] == ["/ping/fail"] * 2, "it is not good so"
    ((_, _, message),) = other_web.requests
    assert [check["name"] for check in message["checks"]] == ["disk"]
    assert "it is told in every round" in message["checks"][0]["summary"]


def test_who_was_told_before_the_file_could_not_be_written_is_not_told_again(
    ops_settings: OpsSettingsFactory, web: Web
) -> None:
    ops = ops_settings(notify_webhooks=(web.address("/"),), notify_after_seconds=0.0)
    round_of(ops, caddy=DOWN, disk=UP)
    # As on a read-only volume, it can be read and not written, whoever one is.
    (ops.state_dir / state.LOCK).unlink()
    (ops.state_dir / state.LOCK).mkdir()

    not_remembered(ops, caddy=DOWN, disk=DOWN)

    told = [[check["name"] for check in message["checks"]] for _, _, message in web.requests]
    assert told == [["caddy"], ["disk"]]


def test_two_rounds_at_once_tell_once(ops_settings: OpsSettingsFactory, web: Web) -> None:
    ops = ops_settings(notify_webhooks=(web.address("/"),), notify_after_seconds=0.0)
    findings = [Finding("caddy", DOWN, 0.1)]
    rounds.remember(findings, ops, whole=True)
    threads = [
        threading.Thread(
            target=rounds.pass_on,
            args=(ops,),
            kwargs={"until": monotonic() + 5, "findings": findings, "whole": True},
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG_SECONDS)

    assert len(web.requests) == 1


def test_a_check_that_there_is_no_longer_is_forgotten_by_a_whole_round(
    ops_settings: OpsSettingsFactory,
) -> None:
    ops = ops_settings()

    round_of(ops, caddy=UP, shop=UP)
    round_of(ops, whole=False, caddy=UP)
    assert set(state.load(ops.state_dir)) == {"caddy", "shop"}
    round_of(ops, caddy=UP)

    assert set(state.load(ops.state_dir)) == {"caddy"}


def test_what_a_channel_was_told_goes_with_the_channel(
    ops_settings: OpsSettingsFactory, web: Web, other_web: Web
) -> None:
    round_of(
        ops_settings(notify_webhooks=(web.address("/"),), notify_after_seconds=0.0), caddy=DOWN
    )
    ops = ops_settings(notify_webhooks=(other_web.address("/"),), notify_after_seconds=0.0)

    round_of(ops, caddy=DOWN)

    assert len(web.requests) == len(other_web.requests) == 1, "a new one hears what is bad now"
    assert len(state.load(ops.state_dir)["caddy"].told) == 1
    assert Status.BAD in state.load(ops.state_dir)["caddy"].told.values()
