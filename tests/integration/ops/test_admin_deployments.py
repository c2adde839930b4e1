from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.ops.models import Deployment, Release

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LIST = "/admin/ops/deployment/"

pytestmark = pytest.mark.django_db

Deploy = Callable[..., Deployment]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False


@pytest.fixture
def deploy() -> Deploy:
    def write(**fields: Any) -> Deployment:
        now = timezone.now()
        ended = {"started_at": now, "finished_at": now + timedelta(seconds=83)}
        return Deployment.objects.create(
            **{"status": "succeeded", "exit_code": 0, "ref": "main", **ended, **fields}
        )

    return write


def release(sha: str = "3f2a9c01be77", subject: str = "Show the welcome") -> Release:
    return Release.objects.create(sha=sha.ljust(40, "0"), subject=subject)


def get(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def listed(client: Client, query: str = "") -> list[int]:
    return [int(n) for n in re.findall(r">#(\d+)</a>", get(client, f"{LIST}?{query}"))]


def words(page: str) -> str:
    """What a reader sees."""
    body = page.partition('<div id="content"')[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_a_row_says_who_deployed_what_when_and_how_it_went(
    admin_client: Client, deploy: Deploy, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    row = deploy(
        exit_code=6,
        release=release(),
        color="green",
        requested_by="ada",
        requested_from="203.0.113.7",
        warnings=["purge: 429", "prune: no room"],
    )
    asked_at = datetime(2026, 7, 1, 10, 0, 5, tzinfo=ZoneInfo("UTC"))
    Deployment.objects.update(created_at=asked_at)

    page = words(get(admin_client, LIST))

    for said in (
        f"#{row.pk}",
        "✓ succeeded",
        "⚠ 2 warnings",
        "3f2a9c01be77 Show the welcome",
        "deploy main green",
        "ada 203.0.113.7",
        "2026-07-01 12:00:05 1 min 23 s",
    ):
        assert said in page


@pytest.mark.parametrize(
    ("status", "exit_code", "error", "said"),
    [
        ("failed", 1, "The image could not be built.\n\nlog", "✗ failed The image could not be"),
        ("failed", 4, "Another deployment runs.", "✗ failed busy: Another deployment runs."),
        ("failed", 5, "Ref nope is not known.", "✗ failed refused: Ref nope is not known."),
        ("failed", 5, "", "✗ failed refused"),
        ("rolled back", 3, "It answered 502.", "↶ rolled back It answered 502."),
        ("interrupted", 130, "Cancelled (SIGINT).", "⊘ interrupted Cancelled (SIGINT)."),
        ("interrupted", None, "Its process ended.", "⊘ interrupted Its process ended."),
    ],
)
def test_a_row_says_why_it_went_wrong(
    admin_client: Client, deploy: Deploy, status: str, exit_code: int | None, error: str, said: str
) -> None:
    deploy(status=status, exit_code=exit_code, error=error)

    assert said in words(get(admin_client, LIST))


def test_a_running_deployment_says_for_how_long(admin_client: Client, deploy: Deploy) -> None:
    started = timezone.now() - timedelta(minutes=2)
    deploy(status="running", exit_code=None, started_at=started, finished_at=None)

    assert re.search(r"▸ running.* 2 min \d\d s so far", words(get(admin_client, LIST)))


def test_what_was_written_by_others_is_text_and_nothing_else(
    admin_client: Client, deploy: Deploy
) -> None:
    hostile = "<script>alert(1)</script>"
    deploy(
        status="failed",
        exit_code=1,
        ref=hostile,
        release=release(subject=hostile),
        color="<b>",
        requested_by=hostile,
        requested_from=hostile,
        error=hostile,
    )

    page = get(admin_client, f"{LIST}?who=%3Cscript%3Ealert(1)%3C/script%3E")

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>" not in page


def test_the_newest_is_first(admin_client: Client, deploy: Deploy) -> None:
    numbers = [deploy().pk for _ in range(3)]

    assert listed(admin_client) == numbers[::-1]
    assert listed(admin_client, "o=0") == numbers


def test_a_page_has_fifty(admin_client: Client, deploy: Deploy) -> None:
    numbers = [deploy().pk for _ in range(51)]

    assert listed(admin_client) == numbers[:0:-1]
    assert listed(admin_client, "p=2") == numbers[:1]


@pytest.mark.parametrize(
    "query",
    ["status__exact=failed", "kind__exact=rollback", "color=green", "who=grace"],
)
def test_it_can_be_filtered(admin_client: Client, deploy: Deploy, query: str) -> None:
    deploy(color="blue", requested_by="ada")
    wanted = deploy(
        status="failed", exit_code=1, kind="rollback", color="green", requested_by="grace"
    )

    assert listed(admin_client, query) == [wanted.pk]
    assert f"?{query}" in get(admin_client, LIST)


@pytest.mark.parametrize(
    "term", ["3f2a9c0", "3F2A9C01", "welcome", "fix/hashes", "grace", "REQUIREMENTS", "the+hashes"]
)
def test_a_search_finds_commits_subjects_refs_people_and_errors(
    admin_client: Client, deploy: Deploy, term: str
) -> None:
    deploy(ref="main", requested_by="ada", release=release("aaaa", "Something else"))
    wanted = deploy(
        status="failed",
        exit_code=1,
        ref="fix/hashes",
        requested_by="grace",
        release=release(),
        error="It could not be built.\n\nTHESE DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
    )

    assert listed(admin_client, f"q={term}") == [wanted.pk]


def test_a_number_finds_that_deployment_alone(admin_client: Client, deploy: Deploy) -> None:
    deploys = [deploy(ref=f"v{n}", release=release(f"{n}{n}{n}")) for n in range(1, 4)]
    wanted = deploys[1]

    assert listed(admin_client, f"q=%23{wanted.pk}") == [wanted.pk]
    assert listed(admin_client, f"q={wanted.pk}") == [wanted.pk]
    assert listed(admin_client, "q=%2399999999999999999999") == []


def test_a_commit_of_digits_only_is_found(admin_client: Client, deploy: Deploy) -> None:
    wanted = deploy(release=release("1234567890"))

    assert listed(admin_client, "q=12345678") == [wanted.pk]


def test_an_empty_list_says_what_to_do(admin_client: Client, deploy: Deploy) -> None:
    assert "Nothing was deployed yet." in get(admin_client, LIST)
    deploy()
    assert "No deployment matches." in get(admin_client, f"{LIST}?q=nothing-like-it")


def test_the_list_needs_no_inline_style_or_script(admin_client: Client, deploy: Deploy) -> None:
    deploy(release=release(), color="green", warnings=["one"])

    page = get(admin_client, LIST)

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page)
    assert "ops/history.css" in page
