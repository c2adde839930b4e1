"""What Postgres keeps of the checks' results: flips, few of them; and what is shown of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from pytest_django import Settings

from apps.ops.admin.check import CheckAdmin
from apps.ops.health import history, state
from apps.ops.health.record import project
from apps.ops.health.result import Result, Status
from apps.ops.health.state import Known
from apps.ops.models import Check, Flip

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

db = pytest.mark.django_db
NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)

pages = admin.AdminSite()
pages.register(Check, CheckAdmin)
urlpatterns = [path("admin/", pages.urls)]


@pytest.fixture(autouse=True)
def ops(settings: Settings, ops_settings: OpsSettingsFactory) -> Any:
    settings.OPS = ops_settings(health_flips=10)
    return settings.OPS


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is now when a test begins, not when the first of all tests did."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


def seen(*statuses: str, begin: datetime | None = None) -> Known:
    begin = begin or NOW
    known = Known.new(begin)
    for number, status in enumerate(statuses):
        known.see(Result(Status(status), f"It is {status}.", "look"), begin + number * MINUTE)
    return known


def flips() -> list[tuple[str, str]]:
    return [(f.was, f.status) for f in Flip.objects.order_by("at", "id")]


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = 0
    try:
        call_command("health_history", *argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@db
def test_a_row_for_the_check_and_one_for_each_change(ops: Any) -> None:
    known = seen("good", "good", "bad", "bad")
    known.told = {"slack:1": "good", "e-mail:2": "bad"}

    project({"disk": known}, ops)

    row = Check.objects.get()
    assert (row.name, row.status, row.summary, row.next) == ("disk", "bad", "It is bad.", "look")
    assert (row.since, row.first_seen, row.last_seen) == (
        NOW + 2 * MINUTE,
        NOW,
        NOW + 3 * MINUTE,
    )
    assert row.told == "bad"
    assert flips() == [("", "good"), ("good", "bad")]


@db
def test_what_is_there_is_not_written_twice(ops: Any) -> None:
    """Also when nobody heard that it was written."""
    known = seen("good", "bad")
    project({"disk": known}, ops)
    known.see(Result(Status.GOOD, ""), NOW + 2 * MINUTE)

    project({"disk": known}, ops)
    project({"disk": known}, ops)

    assert flips() == [("", "good"), ("good", "bad"), ("bad", "good")]
    assert Check.objects.get().first_seen == NOW


@db
def test_a_check_keeps_so_many_changes_and_the_newest(ops: Any) -> None:
    other = seen("good")
    known = seen(*["good", "bad"] * 10)

    project({"disk": known, "clock": other}, ops)

    kept = Flip.objects.filter(check_of__name="disk").order_by("at")
    assert [f.at for f in kept] == [NOW + n * MINUTE for n in range(10, 20)]
    assert Flip.objects.filter(check_of__name="clock").count() == 1


@db
def test_a_check_that_was_not_seen_for_90_days_goes_with_its_changes(ops: Any) -> None:
    day = timedelta(days=1)
    project({"old": seen("good", begin=NOW - 91 * day)}, ops)
    project({"recent": seen("good", begin=NOW - 89 * day)}, ops)

    project({"disk": seen("good")}, ops)

    assert [check.name for check in Check.objects.all()] == ["disk", "recent"]
    assert Flip.objects.count() == 2


@db
@pytest.mark.parametrize(
    ("results", "kept"), [(2_000, 100), pytest.param(20_000, 1_000, marks=pytest.mark.more)]
)
def test_results_that_flap_each_time_leave_so_many_rows(
    ops_settings: OpsSettingsFactory, results: int, kept: int
) -> None:
    ops = ops_settings(health_flips=kept)
    known = Known.new(NOW)
    for number in range(results):
        status = Status.BAD if number % 2 else Status.GOOD
        known.see(Result(status, ""), NOW + number * MINUTE)
        if number % 50 == 49:
            project({"disk": known}, ops)
            known.pending.clear()

    assert Flip.objects.count() == kept
    assert Check.objects.count() == 1
    assert Flip.objects.order_by("at")[0].at == NOW + (results - kept) * MINUTE


@db
def test_twenty_thousand_results_that_do_not_change_leave_one(ops: Any) -> None:
    known = seen(*["good"] * 20_000)

    project({"disk": known}, ops)

    assert flips() == [("", "good")]


@db
def test_the_history_of_one_check(ops: Any, capsys: pytest.CaptureFixture[str]) -> None:
    begin = NOW - 100 * MINUTE
    known = seen(*["good"] * 75, *["bad"] * 25, "good", begin=begin)
    project({"disk": known, "clock": seen("good")}, ops)

    code, out, _ = run(capsys, "disk")

    assert code == 0
    assert "75.0" in out
    rows = [" ".join(line.split()[2:-3]) for line in out.splitlines() if line[:3] == " 20"]
    assert rows == ["✗ bad ✓ good", "✓ good ✗ bad", "new ✓ good"], "the newest first"
    report = json.loads(run(capsys, "disk", "--format", "json")[1])
    (check,) = report["checks"]
    assert report["postgres"] is True
    assert check["uptime_percent"] == pytest.approx(75, abs=0.5)
    assert check["bad_seconds"] == 25 * 60
    assert check["unknown_seconds"] == 0
    assert [f["status"] for f in check["flips"]] == ["good", "bad", "good"]


@db
def test_the_history_of_all_checks_counts_what_is_not_known_apart(
    ops: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    known = seen("good", begin=NOW - 60 * MINUTE)
    known.see(Result(Status.GOOD, ""), NOW - 1 * MINUTE)
    project({"disk": known, "front-door": seen("unknown", begin=NOW - MINUTE)}, ops)

    code, out, _ = run(capsys, "--days", "1")

    assert code == 0
    assert "100 %" in out
    assert "59 min" in out
    assert "not known" in out
    report = json.loads(run(capsys, "--format", "json")[1])
    assert [(c["name"], c["uptime_percent"]) for c in report["checks"]] == [
        ("disk", 100.0),
        ("front-door", None),
    ]
    assert "flips" not in report["checks"][0]


@db
def test_only_so_many_days_are_counted(ops: Any, capsys: pytest.CaptureFixture[str]) -> None:
    known = seen("bad", begin=NOW - timedelta(days=3))
    known.last_seen = NOW - timedelta(days=2)
    known.see(Result(Status.GOOD, ""), NOW)
    known.pending = [c for c in known.pending if c.status != "unknown"]
    project({"disk": known}, ops)

    (day,) = json.loads(run(capsys, "--days", "1", "--format", "json")[1])["checks"]
    (week,) = json.loads(run(capsys, "--days", "7", "--format", "json")[1])["checks"]

    assert day["bad_seconds"] == pytest.approx(24 * 3600, abs=60)
    assert week["bad_seconds"] == pytest.approx(3 * 24 * 3600, abs=60)
    assert (day["flips_total"], week["flips_total"]) == (1, 2)


@db
@pytest.mark.parametrize("days", ["0", "-1", "x", "nan", "1e9"])
def test_days_that_are_none_are_refused(days: str) -> None:
    with pytest.raises(CommandError, match="is no number of days"):
        call_command("health_history", f"--days={days}")


@db
def test_a_check_that_is_not_known_ends_with_2_and_names_the_others(ops: Any) -> None:
    project({"disk": seen("good"), "clock": seen("good")}, ops)

    with pytest.raises(CommandError, match=r"Did you mean disk\? There are: clock, disk") as caught:
        call_command("health_history", "disc")
    assert caught.value.returncode == 2


@db
def test_before_the_first_round_there_is_nothing_to_show(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(capsys)[1] == "No check has been run yet. Next: manage.py check_health\n"


def test_with_postgres_down_the_history_shows_what_is_known_without_it(
    ops: Any, database: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with state.changing(ops.state_dir) as known:
        known["postgres"] = seen("good", "bad", begin=NOW - MINUTE)
    database.stop()

    code, out, err = run(capsys, "postgres")

    assert code == 1
    assert "✗ bad" in out
    assert "Postgres does not answer as it should" in err
    assert "This is what is known without it." in err
    report = json.loads(run(capsys, "--format", "json")[1])
    assert report["postgres"] is False
    assert report["checks"][0]["flips_total"] == 2


@db
def test_many_checks_take_no_more_queries_than_one(ops: Any) -> None:
    counts = []
    for number in (1, 40):
        project({f"check-{n}": seen("good", "bad", "good") for n in range(number)}, ops)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            history.from_postgres(days=30, now=NOW + 3 * MINUTE)
        counts.append(len(asked))

    assert counts[0] == counts[1] == 4


@db
def test_the_admin_shows_the_uptime_and_the_flips(ops: Any, rf: RequestFactory) -> None:
    project({"disk": seen("good", "bad", begin=NOW - 2 * MINUTE), "clock": seen("good")}, ops)
    page = CheckAdmin(Check, pages)
    row = Check.objects.get(name="disk")

    assert "not known" not in page.uptime(row)
    assert page.uptime(row).endswith(" %")
    shown = page.flips(row)
    assert shown.count("<tr>") == 3
    assert "It is bad." in shown
    assert page.what_was_measured(row) is None
    request = rf.get("/")
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request, row)
    assert not page.has_delete_permission(request, row)


@pytest.fixture
def site(settings: Settings) -> None:
    """Only these pages, without a static manifest and HTTPS."""
    settings.ROOT_URLCONF = __name__
    plain = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": plain}}
    settings.SECURE_SSL_REDIRECT = False


@db
@pytest.mark.usefixtures("site")
def test_the_admins_pages_escape_what_a_check_says(ops: Any, admin_client: Any) -> None:
    known = Known.new(NOW)
    known.see(Result(Status.BAD, "<script>x</script>", figures={"<b>": "<i>"}), NOW)
    project({"disk": known}, ops)

    the_list = admin_client.get("/admin/ops/check/")
    page = admin_client.get(f"/admin/ops/check/{Check.objects.get().pk}/change/")

    for answer in (the_list, page):
        assert answer.status_code == 200
        assert b"<script>x" not in answer.content
        assert b"&lt;script&gt;x" in answer.content
    assert b"&lt;b&gt;: &lt;i&gt;" in page.content
