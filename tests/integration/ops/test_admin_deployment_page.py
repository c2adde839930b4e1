from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from apps.ops.models import Deployment, Release, Step

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
BEGIN = datetime(2026, 7, 1, 10, 0, 0, tzinfo=UTC)

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
        times = {"started_at": at(2), "finished_at": at(102)}
        row = Deployment.objects.create(
            **{"status": "succeeded", "exit_code": 0, "ref": "main", **times, **fields}
        )
        Deployment.objects.update(created_at=BEGIN)
        return row

    return write


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def release(sha: str, subject: str) -> Release:
    return Release.objects.create(sha=sha.ljust(40, "0"), subject=subject, author="Grace Hopper")


def get(client: Client, row: Deployment) -> str:
    response = client.get(f"/admin/ops/deployment/{row.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def words(page: str) -> str:
    """What a reader sees."""
    body = page.partition('<div id="content"')[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


@pytest.mark.parametrize(
    ("status", "exit_code", "said"),
    [
        ("queued", None, "It waits to be started."),
        ("running", None, "It runs; traffic has not moved yet."),
        ("succeeded", 0, "It went live. Exit code 0."),
        ("succeeded", 6, "It went live, with warnings. Exit code 6."),
        ("failed", 1, "It failed; traffic never moved. Exit code 1."),
        ("rolled back", 3, "It failed after the swap and was rolled back by itself. Exit code 3."),
        ("failed", 4, "Another deployment held the lock, or deployments were frozen;"),
        ("failed", 5, "A gate refused it; traffic never moved. Exit code 5."),
        ("interrupted", 130, "It was cancelled, and what it had done was undone. Exit code 130."),
        ("interrupted", None, "Its process ended without a word, and no swap was recorded."),
        ("failed", 77, "Failed (traffic never moved). Exit code 77."),
    ],
)
def test_the_outcome_is_said_in_words(
    admin_client: Client, deploy: Deploy, status: str, exit_code: int | None, said: str
) -> None:
    assert said in words(get(admin_client, deploy(status=status, exit_code=exit_code)))


def test_an_interruption_after_the_swap_says_that_traffic_had_moved(
    admin_client: Client, deploy: Deploy
) -> None:
    row = deploy(status="interrupted", exit_code=None, swapped_at=at(50))

    assert "ended without a word, after traffic had moved." in words(get(admin_client, row))


def test_it_says_what_was_asked_by_whom_and_what_was_live_before(
    admin_client: Client, deploy: Deploy
) -> None:
    new, old = release("aaaa", "The new one"), release("bbbb", "The old one")
    row = deploy(
        release=new,
        previous_release=old,
        color="blue",
        requested_by="ada",
        requested_from="203.0.113.7",
        warnings=["purge: Cloudflare answered 429. Next: manage.py purge_cache"],
    )

    page = get(admin_client, row)

    for said in (
        "Asked for deploy main",
        "Release aaaa00000000 The new one by Grace Hopper",
        "Release before bbbb00000000 The old one",
        "Colour blue",
        "Who ada",
        "From 203.0.113.7",
        "Warnings purge: Cloudflare answered 429. Next: manage.py purge_cache",
    ):
        assert said in words(page)
    assert f'href="/admin/ops/release/{old.pk}/change/"' in page


def test_times_are_the_sites_to_the_second_and_say_how_long_after_what(
    admin_client: Client, deploy: Deploy, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Paris"

    page = words(get(admin_client, deploy(swapped_at=at(62.5))))

    for said in (
        "Requested 2026-07-01 12:00:00 CEST",
        "Started 2026-07-01 12:00:02 CEST after waiting 2.0 s",
        "Traffic moved 2026-07-01 12:01:02 CEST 1 min 00 s after the start",
        "Finished 2026-07-01 12:01:42 CEST took 1 min 40 s",
    ):
        assert said in page


def test_steps_show_their_times_and_bars_to_scale(admin_client: Client, deploy: Deploy) -> None:
    row = deploy(swapped_at=at(52))
    Step.objects.create(
        deployment=row,
        position=1,
        name="build",
        status="succeeded",
        started_at=at(27),
        finished_at=at(52),
        summary="built in 24 s",
        output="the log of build",
    )

    page = get(admin_client, row)

    assert "build ✓ succeeded 2026-07-01 10:00:27 25.0 s built in 24 s" in words(page)
    assert '<rect class="ops-fill ops-succeeded" x="250" width="250" height="10"/>' in page
    assert '<rect class="ops-swap" x="500" width="3" height="10"/>' in page
    assert re.search(r"<details>\s*<summary>Output of build</summary>", page)


def test_a_step_outside_of_its_deployments_time_is_still_drawn_inside(
    admin_client: Client, deploy: Deploy
) -> None:
    row = deploy(finished_at=at(2))
    Step.objects.create(deployment=row, position=1, name="fetch", started_at=at(-5))
    Step.objects.create(deployment=row, position=2, name="build", started_at=at(500))

    bars = re.findall(r'ops-fill [\w-]+" x="(\d+)" width="(\d+)"', get(admin_client, row))

    assert len(bars) == 2
    assert all(int(x) >= 0 and int(x) + int(width) <= 1000 for x, width in bars)


def test_the_output_of_a_failed_step_is_open_and_not_said_twice(
    admin_client: Client, deploy: Deploy
) -> None:
    row = deploy(status="failed", exit_code=1, error="It could not be built.\n\nERROR: no match")
    step = Step.objects.create(
        deployment=row,
        position=2,
        name="build",
        status="failed",
        started_at=at(3),
        finished_at=at(9),
        output="collecting\nERROR: no match",
    )

    page = get(admin_client, row)

    assert "<strong>It could not be built.</strong></pre>" in page
    assert f'<a href="#step-{step.pk}">What build said</a>' in page
    assert f'id="step-{step.pk}"' in page
    assert re.search(r"<details open>\s*<summary>Output of build</summary>", page)
    assert page.count("ERROR: no match") == 1


def test_the_output_of_an_error_is_shown_when_no_step_has_it(
    admin_client: Client, deploy: Deploy
) -> None:
    row = deploy(status="failed", exit_code=1, error="Postgres is away.\n\nconnection refused")

    page = get(admin_client, row)

    assert "<strong>Postgres is away.</strong>\n\nconnection refused</pre>" in page
    assert "No step has run." in page


def test_many_commits_are_folded_and_uncounted_ones_are_said(
    admin_client: Client, deploy: Deploy
) -> None:
    commits = [
        {
            "sha": f"{n:040x}",
            "author": "Ada",
            "subject": f"Change {n}.",
            "committed_at": "2026-07-01T09:00:00+00:00",
        }
        for n in range(80)
    ]

    page = get(admin_client, deploy(release=release("a", "x"), commits=commits, commits_total=312))

    assert "Commits that came with it: 312" in page
    assert page.index("Change 19.") < page.index("60 older commits") < page.index("Change 20.")
    assert "And 232 older, which were not recorded one by one." in page
    assert "000000000000 Change 0. Ada 2026-07-01 09:00:00" in words(page)


@pytest.mark.parametrize("committed_at", [None, "", "yesterday", "2026-02-31T00:00:00Z", 7])
def test_a_commit_without_a_date_that_can_be_read_is_still_listed(
    admin_client: Client, deploy: Deploy, committed_at: object
) -> None:
    commits = [{"sha": "a" * 40, "subject": "A change", "committed_at": committed_at}]

    assert "aaaaaaaaaaaa A change" in words(get(admin_client, deploy(commits=commits)))


def test_what_was_written_by_others_is_text_and_nothing_else(
    admin_client: Client, deploy: Deploy
) -> None:
    hostile = "<script>alert(1)</script>"
    row = deploy(
        status="failed",
        exit_code=1,
        ref=hostile,
        release=release("aaaa", hostile),
        previous_release=release("bbbb", hostile),
        requested_by=hostile,
        requested_from=hostile,
        error=f"{hostile}\n\n{hostile}",
        warnings=[hostile],
        commits=[{"sha": hostile, "author": hostile, "subject": hostile, "committed_at": hostile}],
    )
    Step.objects.create(
        deployment=row,
        position=1,
        name="<script>x",
        started_at=at(2),
        summary=hostile,
        output=f"</pre>{hostile}",
    )

    page = get(admin_client, row)

    assert "<script>alert" not in page
    assert "<script>x" not in page
    assert "</pre><script>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_the_page_needs_no_inline_style_or_script(admin_client: Client, deploy: Deploy) -> None:
    row = deploy(release=release("aaaa", "One"), swapped_at=at(50), warnings=["one"])
    Step.objects.create(deployment=row, position=1, name="fetch", started_at=at(2), output="log")

    page = get(admin_client, row)

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page)
    assert "ops/history.css" in page


def test_releases_are_no_links_for_who_may_not_view_them(client: Client, deploy: Deploy) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deployment"))
    client.force_login(user)

    page = get(client, deploy(release=release("aaaa", "The new one")))

    assert "The new one" in page
    assert "/admin/ops/release/" not in page


def test_what_was_watched_judged_and_overruled_is_shown(
    admin_client: Client, deploy: Deploy
) -> None:
    row = deploy(
        override="frozen by ada until Monday",
        bake={
            "seconds": 30.0,
            "verdict": "worse",
            "old": {"requests": 900, "errors": 1, "p90_ms": 31},
            "new": {"requests": 120, "errors": 14, "p90_ms": 35},
        },
        migrations=[
            {
                "name": "home.0004_drop",
                "phase": "after",
                "kind": "contract",
                "reversible": False,
                "sql": ['ALTER TABLE "home_message" DROP COLUMN "spare";'],
                "operations": [
                    {
                        "what": "Remove field spare from message",
                        "kind": "contract",
                        "why": "the live release reads it",
                        "advice": "Do it after the swap.",
                        "reversible": False,
                    }
                ],
            }
        ],
    )

    shown = words(get(admin_client, row))

    assert "Overruled frozen by ada until Monday" in shown
    assert "What visitors got after the swap: worse" in shown
    assert "before 900 1 31 ms this one 120 14 35 ms" in shown
    assert "home.0004_drop contract, irreversible (after the swap)" in shown
    assert "DROP COLUMN" in shown
