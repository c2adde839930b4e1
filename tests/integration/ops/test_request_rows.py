"""What is asked for in the admin: rows in a real Postgres, and the commands that they become."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from threading import Barrier, Thread

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from apps.ops.agent import answers
from apps.ops.agent.history import History
from apps.ops.conf import OpsSettings
from apps.ops.deploys import history, requests
from apps.ops.deploys.events import Outcome
from apps.ops.deploys.journal import new_uid
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.story import Story
from apps.ops.errors import Refused
from apps.ops.models import Deployment, Request
from tests.conftest import OpsSettingsFactory
from tests.integration.ops.conftest import begin

db = pytest.mark.django_db
written = pytest.mark.django_db(transaction=True)


def ask(ref: str = "main", kind: str = "deploy", by: str = "ada") -> Deployment:
    """What the page writes, and what the agent makes of it where all refs are allowed."""
    asked = requests.ask(kind, ref, by=by, origin="192.0.2.7")
    answers.answer(OpsSettings(request_refs=("*",)))
    asked.refresh_from_db()
    if asked.deployment is None:
        raise Refused(asked.answer)
    return asked.deployment


def row() -> Deployment:
    return Deployment.objects.get()


# --- The rows -------------------------------------------------------------------------------------


@db
@pytest.mark.parametrize(
    "ref",
    [
        "main",
        "release/2026-11",
        "v1.2.3",
        "feature/a_b+c",
        "3f2a9c01be77",
        "dependabot/x@2",
        "m\u00e4in",
    ],
)
def test_a_branch_a_tag_and_a_commit_can_be_asked_for(ref: str) -> None:
    assert ask(ref).status == "queued"


@db
@pytest.mark.parametrize(
    ("kind", "ref"),
    [
        ("deploy", ""),
        ("deploy", "--upload-pack=touch /tmp/x"),
        ("deploy", "-f"),
        ("deploy", "main; rm -rf /"),
        ("deploy", "main\nother"),
        ("deploy", "a..b"),
        ("deploy", "main@{1}"),
        ("deploy", "refs/"),
        ("deploy", "x" * 251),
        # Read from right to left from here on.
        ("deploy", "main\u202e"),
        ("rollback", "main"),
        ("rollback", "3f2a9c"),
        ("shell", "main"),
    ],
)
def test_nothing_else_can_be_asked_for(kind: str, ref: str) -> None:
    with pytest.raises(Refused):
        ask(ref, kind)
    assert not Deployment.objects.exists()


@db
def test_the_same_is_not_asked_for_twice_while_it_waits() -> None:
    first = ask()
    with pytest.raises(Refused, match=f"asked for already: #{first.pk}"):
        ask(by="grace")
    ask("other")
    ask("", "rollback")


@written
def test_of_many_clicks_at_once_one_is_a_row() -> None:
    together, refused = Barrier(8), []

    def click() -> None:
        together.wait()
        try:
            requests.ask("deploy", "main", by="ada", origin="")
        except Refused as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Request.objects.count() == 1
    assert len(refused) == 7


@written
def test_of_many_agents_one_gets_a_row() -> None:
    for n in range(5):
        ask(f"branch-{n}")
    together, got = Barrier(4), []

    def agent() -> None:
        together.wait()
        while taken := requests.claim():
            got.append(taken.pk)
        connection.close()

    threads = [Thread(target=agent) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == sorted(Deployment.objects.values_list("pk", flat=True))
    assert len(set(Deployment.objects.values_list("uid", flat=True))) == 5


@db
def test_what_nobody_took_within_an_hour_is_given_up() -> None:
    old, young = ask("old"), ask("young")
    Deployment.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(minutes=61))

    assert requests.expire() == 1

    old.refresh_from_db()
    young.refresh_from_db()
    assert (old.status, old.exit_code, young.status) == ("failed", 1, "queued")
    assert old.error == "It waited for more than an hour and was not started."
    assert old.traffic == "Nothing was done; traffic is as it was."
    assert requests.claim() == young


# --- The command that it becomes ------------------------------------------------------------------


@written
def test_a_deployment_that_was_asked_for_is_the_row_that_asked(
    ops_settings: OpsSettingsFactory,
) -> None:
    ask()
    taken = requests.claim()
    assert taken
    ops = ops_settings()
    found = requests.require_waiting(str(taken.uid), kind="deploy", settings=ops)
    assert found == taken

    recorder = Recorder(ops.state_dir, Story(str(taken.uid)))
    recorder.begin(
        kind="deploy", ref="main", requested_by="ada", requested_from="192.0.2.7", options={}
    )

    assert (row().pk, row().status, row().created_at) == (taken.pk, "running", taken.created_at)
    with pytest.raises(Refused, match="nothing is done twice"):
        requests.require_waiting(str(taken.uid), kind="deploy", settings=ops)


@db
@pytest.mark.parametrize("uid", ["20261123T120000-abcdef", "../../etc/passwd", ""])
def test_what_was_never_asked_for_is_not_done(uid: str, ops_settings: OpsSettingsFactory) -> None:
    with pytest.raises(Refused, match="does not wait any more"):
        requests.require_waiting(uid, kind="deploy", settings=ops_settings())


@db
def test_a_rollback_cannot_take_the_row_of_a_deployment(ops_settings: OpsSettingsFactory) -> None:
    ask()
    taken = requests.claim()
    assert taken
    with pytest.raises(Refused):
        requests.require_waiting(str(taken.uid), kind="rollback", settings=ops_settings())


@written
def test_one_that_meets_another_deployment_goes_on_waiting(
    ops_settings: OpsSettingsFactory, settings: object
) -> None:
    ops = ops_settings()
    settings.OPS = ops  # type: ignore[attr-defined]
    ask()
    taken = requests.claim()
    assert taken

    with (
        deploy_lock(ops.state_dir, holder="grace deploys main"),
        pytest.raises(SystemExit) as ended,
    ):
        call_command("deploy", "main", "--request", taken.uid, stdout=StringIO())

    assert ended.value.code == 4
    assert row().status == "queued"
    assert not requests.has_begun(ops.state_dir, str(taken.uid))
    assert requests.put_back(row())
    assert row().uid is None


# --- The history ----------------------------------------------------------------------------------


@written
def test_the_history_is_behind_when_a_deployment_ended_without_it(
    ops_settings: OpsSettingsFactory,
) -> None:
    ops = ops_settings()
    told = History(ops)
    assert not told.is_behind()
    begin(ops.state_dir).ended(Outcome("succeeded", 0, 1.0))
    assert not told.is_behind()

    Deployment.objects.all().delete()
    behind = History(ops)
    assert behind.is_behind()
    with deploy_lock(ops.state_dir, holder="somebody"):
        assert not behind.is_behind()


@db
def test_the_history_is_behind_when_a_row_runs_and_nobody_deploys(
    ops_settings: OpsSettingsFactory,
) -> None:
    ops = ops_settings()
    uid = new_uid()
    Deployment.objects.create(status="running", ref="main", uid=uid, started_at=timezone.now())
    assert not History(ops).is_behind()  # It can have only just begun.
    Deployment.objects.update(started_at=timezone.now() - timedelta(minutes=5))
    assert History(ops).is_behind()
    assert history.close_interrupted() == 1
    assert not History(ops).is_behind()


@db
def test_a_second_rollback_is_not_asked_for_while_one_runs() -> None:
    """It would go back one release more."""
    first = ask("", "rollback")
    Deployment.objects.filter(pk=first.pk).update(status="running")

    with pytest.raises(Refused, match=f"#{first.pk} is running"):
        ask("", "rollback")
    with pytest.raises(Refused, match=f"#{first.pk} is running"):
        ask("abcdef1", "rollback", by="grace")
    ask("main")


@db
def test_what_carries_it_out_looks_again_whether_it_may_be_asked_for(
    ops_settings: OpsSettingsFactory,
) -> None:
    ask("evil")
    taken = requests.claim()
    assert taken

    with pytest.raises(Refused, match="'evil' may not be asked for through the site, only main"):
        requests.require_waiting(str(taken.uid), kind="deploy", settings=ops_settings())
