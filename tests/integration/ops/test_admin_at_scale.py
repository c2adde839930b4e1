from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from apps.ops.admin.filters import MAX_NAMES
from apps.ops.models import Deployment, Release, Step

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}

# A deadline that means "hung", not a measure.
SECONDS = 30.0

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """Without a static manifest and HTTPS."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False


def make_history(deployments: int, releases: int) -> None:
    now = timezone.now()
    made = Release.objects.bulk_create(
        Release(
            sha=f"{n * 0x9E3779B97F4A7C15 % 2**64:040x}"[::-1],
            subject=f"Change {n}",
            author="Ada",
            committed_at=now,
            image=f"sha256:{n:064x}",
        )
        for n in range(releases)
    )
    endings = (("succeeded", 0), ("succeeded", 6), ("failed", 1), ("rolled back", 3))
    rows = Deployment.objects.bulk_create(
        Deployment(
            status=endings[n % 4][0],
            exit_code=endings[n % 4][1],
            ref="main",
            release=made[n % releases],
            previous_release=made[n % releases - 1],
            color=("blue", "green")[n % 2],
            requested_by=f"person-{n}",
            requested_from="203.0.113.7",
            started_at=now,
            finished_at=now + timedelta(seconds=60),
            error=f"Step {n} failed.\n\n" + f"a line of its output {n}\n" * 60 if n % 4 > 1 else "",
            commits=[{"sha": "0" * 40, "subject": "Change", "author": "Ada"}] * 10,
            commits_total=10,
            warnings=["purge: 429"] if n % 4 == 1 else [],
        )
        for n in range(deployments)
    )
    Step.objects.bulk_create(
        Step(deployment=rows[-1], position=n, name=f"step-{n}", started_at=now) for n in range(10)
    )
    with connection.cursor() as cursor:
        # Three a day, as if they had been written one after the other.
        cursor.execute(
            "UPDATE ops_deployment SET created_at = now() - (%s - id) * interval '8 h'",
            [rows[-1].pk],
        )


@pytest.fixture(scope="module", params=[2_000, pytest.param(10_000, marks=pytest.mark.more)])
def much_history(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[int]:
    """So many deployments, of a fifth as many releases. They are written once for this module and
    really committed, so that their statistics are known."""
    with django_db_blocker.unblock():
        make_history(request.param, request.param // 5)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE ops_deployment; ANALYZE ops_release; ANALYZE ops_step")
    yield request.param
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE ops_step, ops_request, ops_deployment, ops_backup, ops_packages, ops_release"
        )


def ask(client: Client, address: str) -> tuple[str, list[str]]:
    """The page, and its queries."""
    with CaptureQueriesContext(connection) as queries:
        begun = monotonic()
        response = client.get(address)
        seconds = monotonic() - begun
    assert response.status_code == 200
    assert seconds < SECONDS
    return response.content.decode(), [query["sql"] for query in queries.captured_queries]


LISTS = {
    "/admin/ops/deployment/": 6,
    "/admin/ops/deployment/?q=step": 6,
    "/admin/ops/deployment/?q=%23{number}": 6,
    "/admin/ops/deployment/?kind__exact=deploy&color=green&who={who}": 6,
    "/admin/ops/release/": 3,
    "/admin/ops/release/?live=never": 3,
    "/admin/ops/release/?q=change": 3,
}


def test_lists_of_thousands_ask_what_lists_of_one_ask(
    much_history: int, admin_client: Client
) -> None:
    newest = Deployment.objects.latest("id")

    def queries() -> dict[str, int]:
        of_newest = {"number": newest.pk, "who": newest.requested_by}
        return {
            address: len(ask(admin_client, address.format(**of_newest))[1]) for address in LISTS
        }

    for_all = queries()
    Deployment.objects.exclude(pk=newest.pk).delete()
    Release.objects.filter(deployments=None, followed_by=None).delete()
    for_one = queries()

    assert for_all == for_one == LISTS


@pytest.mark.parametrize(
    "address",
    [
        "/admin/ops/deployment/?p=40",
        "/admin/ops/deployment/?q=nothing-like-it",
        "/admin/ops/deployment/?status__exact=failed",
        f"/admin/ops/deployment/?created_at__year={timezone.now().year}",
        "/admin/ops/release/?p=8",
    ],
)
def test_no_page_of_a_long_history_takes_long(
    much_history: int, admin_client: Client, address: str
) -> None:
    ask(admin_client, address)


def test_the_first_page_reads_fifty_rows_by_an_index(
    much_history: int, admin_client: Client
) -> None:
    page, queries = ask(admin_client, "/admin/ops/deployment/")
    [listing] = [sql for sql in queries if sql.endswith("LIMIT 50")]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT TEXT) {listing}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert page.count('class="field-number"') == 50
    assert "Index Scan Backward using ops_deployment_pkey on ops_deployment" in plan
    assert "Seq Scan on ops_deployment" not in plan


def test_the_list_leaves_long_columns_in_the_database(
    much_history: int, admin_client: Client
) -> None:
    _, queries = ask(admin_client, "/admin/ops/deployment/")
    [listing] = [sql for sql in queries if sql.endswith("LIMIT 50")]

    assert '"ops_deployment"."commits"' not in listing
    assert listing.count('"ops_deployment"."error"') == 1
    assert 'LEFT("ops_deployment"."error", 200)' in listing


def test_the_filter_by_who_does_not_list_thousands_of_names(
    much_history: int, admin_client: Client
) -> None:
    page, _ = ask(admin_client, "/admin/ops/deployment/?who=person-7")
    offered = re.findall(r"who=(person-\d+)", page)

    assert len(set(offered)) <= MAX_NAMES + 1
    assert "person-7" in offered


@pytest.mark.parametrize(("model", "count"), [(Deployment, 3), (Release, 4)])
def test_a_detail_page_asks_the_same_whatever_the_history(
    much_history: int, admin_client: Client, model: type[Deployment | Release], count: int
) -> None:
    newest = Deployment.objects.latest("id")
    key = newest.pk if model is Deployment else newest.release_id

    address = f"/admin/ops/{model._meta.model_name}/{key}/change/"

    ask(admin_client, address)  # Content types are asked for once in a process.
    _, queries = ask(admin_client, address)

    assert len(queries) == count


def test_a_release_shows_the_newest_of_very_many_deployments(
    much_history: int, admin_client: Client
) -> None:
    release = Deployment.objects.latest("id").release
    assert release is not None
    Deployment.objects.update(release=release)

    page, _ = ask(admin_client, f"/admin/ops/release/{release.pk}/change/")

    assert page.count("/admin/ops/deployment/") < 70
    assert f"All {much_history}</a>" in page
