"""purge_cache: what it sends to Cloudflare's API, what it asks and checks, and without Postgres."""

from __future__ import annotations

import os
import pty
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.ops import purges
from apps.ops.models import Purge
from tests.integration.ops.cloudflare import (
    CloudflareApi,
    purge_process,
)
from tests.servers import HUNG_SECONDS
from tests.typed import type_in

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "https://example.org/a.css"


# --- What is sent ---------------------------------------------------------------------------------


def test_several_kinds_at_once_go_in_requests_of_their_own(run: Any, api: CloudflareApi) -> None:
    argv = ["--url", PAGE, "--url", PAGE, "--prefix", "https://Example.org/docs/", "--tag=v1"]
    code, out, _ = run(*argv, "--host=www.example.org", "--static", "--media")

    assert code == 0
    assert api.purged == [
        ("files", [PAGE]),
        ("prefixes", ["example.org/docs/", "example.org/static/", "example.org/media/"]),
        ("hosts", ["www.example.org"]),
        ("tags", ["v1"]),
    ]
    assert "example.org: 6 purged." in out
    row = Purge.objects.get()
    assert (row.requested_by, row.requested_from, row.reason) == ("ada", "192.0.2.7", "by hand")


def test_the_zone_may_be_given_by_its_id_which_is_not_looked_up(
    run: Any, api: CloudflareApi, settings: Settings, ops_settings: OpsSettingsFactory
) -> None:
    api.may_read_zones = False
    settings.OPS = ops_settings(
        cloudflare_token=api.token, cloudflare_zone=api.zone, cloudflare_api=api.address
    )

    assert run("--url", PAGE)[0] == 0
    assert api.requests == [("POST", f"/client/v4/zones/{api.zone}/purge_cache")]


def test_another_zone_may_be_named_and_is_named_again_in_the_command_for_the_rest(
    run: Any, api: CloudflareApi
) -> None:
    code, _, err = run("--zone=other.test", "--url=https://other.test/")

    assert code == 1
    assert "other.test: nothing purged. Cloudflare refuses with 403: Authentication error" in err
    assert "Then: manage.py purge_cache --zone other.test --url https://other.test/" in err
    assert Purge.objects.get().where == "other.test"


def test_what_is_not_ascii_is_sent_as_browsers_send_it(run: Any, api: CloudflareApi) -> None:
    run("--url", "https://bücher.example.org/straße?q=ä%20b")

    assert api.values("files") == ["https://xn--bcher-kva.example.org/stra%C3%9Fe?q=%C3%A4%20b"]


@pytest.mark.parametrize(
    "argv",
    [
        "--url=/a.css",
        "--url=ftp://example.org/a",
        "--url=https:///a",
        "--url=https://example.org/a#b",
        "--url=https://ada:secret@example.org/",
        "--url=https://example.org:99999/",
        "--url=https://[::1/",
        "--url=https://exa\nmple.org/",
        "--url=https://example.org/a b",
        "--url=https://example.org/\x1b[31m",
        f"--url=https://example.org/{'a' * 3000}",
        "--url=https://-.org/",
        "--prefix=example.org/a?b=c",
        "--prefix=",
        f"--prefix=example.org{'/a' * 40}",
        "--host=https://example.org",
        "--host=exa mple.org",
        f"--host={'a' * 64}.org",
        "--tag=a,b",
        "--tag=",
        "--tag=ä",
    ],
)
def test_what_cannot_be_purged_is_refused_before_anything_is_sent(
    run: Any, api: CloudflareApi, argv: str
) -> None:
    code, _, err = run("--url", PAGE, argv)

    assert code == 2
    assert "Nothing was purged.\nNext: " in err
    assert api.requests == []
    assert not Purge.objects.exists()


def test_nothing_asked_for_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="Say what to purge") as caught:
        call_command("purge_cache")
    assert caught.value.returncode == 2


def test_a_dry_run_says_what_it_would_do_and_asks_nobody(run: Any, api: CloudflareApi) -> None:
    code, out, _ = run("--url", PAGE, "--everything", "--redis", "--dry-run")
    assert code == 0
    assert "Would purge 1 at example.org, in 1 request:\n  everything" in out
    assert "Would remove the site's own keys from Redis." in out
    assert api.requests == []


# --- Everything -----------------------------------------------------------------------------------


def test_everything_is_not_purged_without_a_terminal_to_ask_on(
    run: Any, api: CloudflareApi
) -> None:
    code, _, err = run("--everything")

    assert code == 2
    assert "Next: manage.py purge_cache --everything --noinput" in err
    assert api.requests == []


def test_everything_is_purged_with_noinput(run: Any, api: CloudflareApi) -> None:
    code, out, _ = run("--everything", "--noinput", "--url", PAGE)

    assert code == 0
    assert "example.org: everything purged." in out
    assert api.purged == [("purge_everything", [])]
    assert Purge.objects.get().what == {"purge_everything": [""]}


@pytest.mark.parametrize(("answer", "code", "purged"), [("yes", 0, 1), ("no", 130, 0)])
def test_on_a_terminal_everything_is_asked_about(
    api: CloudflareApi, ops: OpsSettings, answer: str, code: int, purged: int
) -> None:
    controller, terminal = pty.openpty()
    os.write(controller, f"{answer}\n".encode())
    process = purge_process(ops, "--everything", stdin=terminal)
    process.communicate(timeout=HUNG_SECONDS)
    os.close(controller)
    os.close(terminal)

    assert process.returncode == code
    assert len(api.purged) == purged


# --- The check ------------------------------------------------------------------------------------


def test_the_check_says_that_the_token_may_purge_the_zone_and_purges_nothing(
    run: Any, api: CloudflareApi
) -> None:
    code, out, _ = run("--check")

    assert code == 0
    assert "The token is active, and may purge the zone example.org." in out
    assert api.purged == []
    assert not Purge.objects.exists()


@pytest.mark.parametrize(
    ("changes", "api_changes", "found", "advice"),
    [
        ({"cloudflare_token": ""}, {}, "No token", "OPS_CLOUDFLARE_TOKEN"),
        ({"cloudflare_token": "wrong"}, {}, "Invalid access token", "OPS_CLOUDFLARE_TOKEN"),
        ({"cloudflare_zone": ""}, {}, "No zone is set", "OPS_CLOUDFLARE_ZONE"),
        ({"cloudflare_zone": "../user"}, {}, "neither the name nor the id", "OPS_CLOUDFLARE_ZONE"),
        ({"cloudflare_zone": "nobody.test"}, {}, "sees no zone nobody.test", "the zone's id"),
        ({"cloudflare_zone": "0" * 32}, {}, "Could not route", "OPS_CLOUDFLARE_ZONE"),
        ({"cloudflare_zone": "other.test"}, {}, "Authentication error", "Cache Purge"),
        ({}, {"may_read_zones": False}, "Actor requires permission", "the zone's id"),
        ({"cloudflare_api": "nonsense"}, {}, "no address of an API", "OPS_CLOUDFLARE_API|leave it"),
    ],
)
def test_the_check_says_what_is_wrong_and_what_to_set(
    run: Any,
    api: CloudflareApi,
    settings: Settings,
    ops: OpsSettings,
    ops_settings: OpsSettingsFactory,
    changes: dict[str, str],
    api_changes: dict[str, Any],
    found: str,
    advice: str,
) -> None:
    known = {name: getattr(ops, name) for name in ("cloudflare_token", "cloudflare_zone")}
    settings.OPS = ops_settings(**{"cloudflare_api": api.address, **known, **changes})
    for name, value in api_changes.items():
        setattr(api, name, value)

    code, _, err = run("--check")

    assert code == 1
    assert found in err
    assert re.search(f"Next: .*({advice})", err)
    assert api.purged == []


def test_a_token_of_an_account_which_is_verified_elsewhere_is_good_when_it_may_purge(
    run: Any, api: CloudflareApi
) -> None:
    api.may_verify = False
    assert run("--check")[0] == 0


# --- Without Postgres -----------------------------------------------------------------------------


def test_with_postgres_down_it_purges_and_says_that_it_is_not_recorded(
    run: Any, api: CloudflareApi, database: PostgresServer
) -> None:
    database.stop()

    code, out, err = run("--url", PAGE)

    assert code == 0
    assert "example.org: 1 purged." in out
    assert "this is not recorded" in err


def test_a_postgres_that_hangs_holds_it_up_only_so_long(
    run: Any, api: CloudflareApi, database: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges, "RECORD_SECONDS", 0.5)
    database.freeze()

    code, _, err = run("--url", PAGE)

    database.thaw()
    assert code == 0
    assert api.values("files") == [PAGE]
    assert "this is not recorded" in err


def test_a_device_or_a_huge_file_of_arguments_is_not_read(
    ops: OpsSettings, api: CloudflareApi, tmp_path: Path
) -> None:
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 20_000_000)

    for file in ("/dev/zero", str(huge)):
        typed = type_in("purge_cache", f"@{file}")
        assert (typed.returncode, f"{file} is not read" in typed.stderr) == (2, True)
    assert not api.requests
