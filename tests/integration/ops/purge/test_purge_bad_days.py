"""Purging while Cloudflare's API limits, fails, hangs, lies or says no, and while we are killed."""

from __future__ import annotations

import random
import re
import shlex
import signal
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.ops import purges
from apps.ops.cdn import cloudflare
from apps.ops.cdn.operations import Operation, url
from apps.ops.models import Purge
from tests.integration.ops.cloudflare import (
    CloudflareApi,
    Trouble,
    answers,
    answers_as_usual,
    cut_short,
    drips,
    echoes_the_token,
    hangs_up,
    limited,
    limited_until,
    purge_process,
    purges_and_hangs_up,
    says_nothing,
)
from tests.servers import HUNG_SECONDS, wait_until

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "https://example.org/a.css"


def quickly(**changes: Any) -> purges.Asked:
    return purges.Asked(**{"seconds": HUNG_SECONDS, "first_wait": 0.01, "say": print, **changes})


def urls(count: int) -> list[Operation]:
    return [url(f"https://example.org/{n}.css") for n in range(count)]


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.more)])
def test_urls_are_each_purged_once_by_an_api_that_answers_429_and_500_at_random(
    ops: OpsSettings, api: CloudflareApi, count: int
) -> None:
    chance = random.Random(20261123)
    api.troubles.extend([limited(1), limited_until(1), limited(None)])
    api.weather = lambda: chance.choices(
        [None, limited(0.05), answers(500), answers(503, b"", Retry_After="0")], [60, 20, 15, 5]
    )[0]
    wanted = urls(count)

    done = purges.purge_cdn(ops, wanted, quickly(seconds=100))

    assert done.error is None
    assert sorted(api.values("files")) == sorted(o.value for o in wanted)
    assert api.broken_limits == []
    row = Purge.objects.get()
    assert (row.status, row.total, row.purged, row.left) == ("purged", count, count, [])
    assert len(row.what["files"]) == 100


@pytest.mark.parametrize(
    "trouble",
    [
        answers(502),
        answers(500, b""),
        answers(503, b"", Retry_After="soon"),
        answers(503, b"", Retry_After="nan"),
        answers(408, b""),
        answers(429, b"", Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"),
        answers(200, b"<html>Log in to the hotel's network</html>"),
        answers(200, b"null"),
        answers(200, b"\xff\xfe"),
        answers(200, b"[" * 100_000),
        answers(200, {"success": "yes"}),
        answers(200, b" " * 2_000_000),
        hangs_up,
        cut_short,
        says_nothing,
        drips,
    ],
)
def test_an_answer_that_does_not_count_is_asked_for_again(
    ops: OpsSettings, api: CloudflareApi, monkeypatch: pytest.MonkeyPatch, trouble: Trouble
) -> None:
    monkeypatch.setattr(cloudflare, "REQUEST_SECONDS", 0.5)
    api.troubles.extend([trouble, trouble])

    done = purges.purge_cdn(ops, urls(1), quickly())

    assert (done.error, done.purged, done.exit_code) == (None, 1, 0)
    assert len(api.requests) == 4
    assert api.values("files") == ["https://example.org/0.css"]


def test_only_the_request_whose_answer_was_lost_is_sent_twice(
    ops: OpsSettings, api: CloudflareApi
) -> None:
    api.troubles.extend([answers_as_usual, answers_as_usual, purges_and_hangs_up])

    done = purges.purge_cdn(ops, urls(300), quickly())

    assert done.purged == 300
    assert [len(values) for _, values in api.purged] == [100, 100, 100, 100]
    assert api.purged[1] == api.purged[2]


def test_after_a_few_tries_the_rest_is_left_and_the_command_for_it_works(
    ops: OpsSettings, api: CloudflareApi, run: Any
) -> None:
    api.troubles.extend([answers_as_usual, answers_as_usual])
    api.weather = lambda: answers(500)

    done = purges.purge_cdn(ops, urls(250), quickly())

    assert (done.exit_code, done.status, done.purged, len(done.left)) == (6, "partly", 100, 150)
    assert done.error is not None
    assert done.error.found == "Cloudflare answers 500, 6 times."
    row = Purge.objects.get()
    assert (row.status, row.purged, row.total, row.exit_code) == ("partly", 100, 250, 6)
    assert row.left[0] == "--url=https://example.org/100.css"
    rest = purges.rest_command(ops, done.left)
    assert re.fullmatch(r"manage\.py purge_cache @\S+", rest)

    api.weather = lambda: None
    assert run(*shlex.split(rest)[2:])[0] == 0
    assert sorted(api.values("files")) == sorted(o.value for o in urls(250))


def test_what_the_api_does_not_take_is_named_and_the_others_go_on(
    run: Any, api: CloudflareApi
) -> None:
    code, _, err = run("--url=https://not-in-this-zone.test/it's", "--host=www.example.org")

    assert code == 6
    assert api.purged == [("hosts", ["www.example.org"])]
    assert "example.org: only 1 of 2 purged. Cloudflare refuses with 400: Unable to purge" in err
    assert "left: url https://not-in-this-zone.test/it's" in err
    command = err.split("Then: ")[1].splitlines()[0]
    assert shlex.split(command)[2:] == ["--url", "https://not-in-this-zone.test/it's"]


def test_a_token_that_is_refused_ends_it_at_once(
    run: Any, api: CloudflareApi, settings: Settings, ops_settings: OpsSettingsFactory
) -> None:
    settings.OPS = ops_settings(
        cloudflare_token="not-the-token", cloudflare_zone=api.zone, cloudflare_api=api.address
    )

    code, _, err = run("--url", PAGE, "--host=www.example.org")

    assert code == 1
    assert len(api.requests) == 1
    assert "nothing purged. Cloudflare refuses with 403: Invalid access token (code 9109)." in err
    assert "Next: set OPS_CLOUDFLARE_TOKEN in .env" in err
    assert "not-the-token" not in err
    row = Purge.objects.get()
    assert (row.status, row.exit_code, len(row.left)) == ("failed", 1, 2)


def test_a_server_that_echoes_the_token_does_not_get_it_shown_or_stored(
    run: Any, api: CloudflareApi
) -> None:
    api.weather = lambda: echoes_the_token

    code, out, err = run("--url", PAGE)

    assert code == 1
    assert "Invalid  [31mBearer •••" in err
    assert "\x1b" not in out + err
    assert api.token not in Purge.objects.get().error


@pytest.mark.parametrize("token", ["to ken", "tökén", "token\r\nX-Evil: 1"])
def test_a_token_that_none_can_be_is_not_sent_and_not_shown(
    run: Any, api: CloudflareApi, settings: Settings, ops_settings: OpsSettingsFactory, token: str
) -> None:
    settings.OPS = ops_settings(
        cloudflare_token=token, cloudflare_zone="example.org", cloudflare_api=api.address
    )

    code, _, err = run("--url", PAGE)

    assert code == 1
    assert "OPS_CLOUDFLARE_TOKEN has characters that no token has." in err
    assert token not in err
    assert api.requests == []


def test_the_token_does_not_follow_a_redirect(ops: OpsSettings, api: CloudflareApi) -> None:
    elsewhere = CloudflareApi().start()
    try:
        api.weather = lambda: answers(307, b"", Location=f"{elsewhere.address}/zones")
        done = purges.purge_cdn(ops, urls(1), quickly())
    finally:
        elsewhere.stop()

    assert done.status == "failed"
    assert done.error is not None
    assert "OPS_CLOUDFLARE_API" in done.error.next
    assert elsewhere.requests == []


def test_the_token_is_not_sent_in_the_clear(
    run: Any, settings: Settings, ops: OpsSettings, ops_settings: OpsSettingsFactory
) -> None:
    settings.OPS = ops_settings(
        cloudflare_token=ops.cloudflare_token,
        cloudflare_zone="example.org",
        cloudflare_api="http://api.example.org/client/v4",
    )

    code, _, err = run("--url", PAGE)

    assert code == 1
    assert "is not https" in err


def test_a_wait_longer_than_the_deadline_is_not_begun(ops: OpsSettings, api: CloudflareApi) -> None:
    api.weather = lambda: limited(3600)
    begun = monotonic()

    done = purges.purge_cdn(ops, urls(1), quickly(seconds=HUNG_SECONDS))

    assert monotonic() - begun < HUNG_SECONDS
    assert done.error is not None
    assert "429" in done.error.found
    assert "3600 s" in done.error.found
    assert len(api.requests) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_is_recorded_as_partly_purged(
    ops: OpsSettings, api: CloudflareApi, number: int
) -> None:
    def weather() -> Trouble | None:
        return limited(3) if len(api.purged) == 2 else None

    api.weather = weather
    arguments = ops.state_dir / "urls"
    ops.state_dir.mkdir()
    arguments.write_text("".join(f"{o.argument}\n" for o in urls(500)))
    process = purge_process(ops, f"@{arguments}")
    wait_until(lambda: len(api.requests) > 3)

    process.send_signal(number)
    said, _ = process.communicate(timeout=HUNG_SECONDS)

    assert process.returncode == 6, said
    assert "only 200 of 500 purged. It was asked to stop." in said
    assert "Next: manage.py purge_cache @" in said
    row = Purge.objects.get()
    assert (row.status, row.purged, row.error) == ("partly", 200, "It was asked to stop.")
    assert api.token not in said


def test_asked_to_stop_it_waits_for_the_answer_that_is_on_its_way_and_not_for_ever(
    ops: OpsSettings, api: CloudflareApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudflare, "GRACE_SECONDS", 0.2)
    stop = Event()

    def says_nothing_and_stops(request: Any) -> None:
        stop.set()
        says_nothing(request)

    api.troubles.extend([answers_as_usual, answers_as_usual, says_nothing_and_stops])

    done = purges.purge_cdn(ops, urls(300), quickly(stop=stop))

    assert (done.purged, len(done.left)) == (100, 200)
    assert done.error is not None
    assert done.error.found == "It was asked to stop."


def test_a_purge_whose_process_was_killed_does_not_run_for_ever(
    run: Any, api: CloudflareApi
) -> None:
    at = timezone.now()
    old = Purge.objects.create(where="example.org", started_at=at - timedelta(hours=2))
    new = Purge.objects.create(where="example.org", started_at=at)

    run("--url", PAGE)

    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.status, new.status) == ("partly", "running")
    assert "ended without a word" in old.error
