"""What the agent makes of rows that anybody may have written, in a real Postgres."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.ops import freezes
from apps.ops.agent import answers
from apps.ops.conf import OpsSettings
from apps.ops.deploys import requests
from apps.ops.deploys.journal import new_uid
from apps.ops.deploys.lock import FILE, deploy_lock
from apps.ops.errors import Refused
from apps.ops.models import Deployment, Freeze, Request, SecurityEvent
from apps.ops.requester import through_the_site
from tests.conftest import OpsSettingsFactory
from tests.servers import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def ops(ops_settings: OpsSettingsFactory) -> OpsSettings:
    return ops_settings(request_refs=("main", "release/*"))


def write(**fields: Any) -> Request:
    """A row as SQL can write it, past every form."""
    return Request.objects.create(**{"kind": "deploy", "requested_by": "grace", **fields})


def answered(row: Request, ops: OpsSettings) -> Request:
    answers.answer(ops)
    row.refresh_from_db()
    return row


@pytest.mark.parametrize("ref", ["main", "release/2026-11", "3f2a9c01be77"])
def test_an_allowed_ref_becomes_a_deployment_in_the_name_of_whoever_asked_on_the_site(
    ops: OpsSettings, ref: str
) -> None:
    row = answered(write(ref=ref, requested_from="198.51.100.9"), ops)

    deployment = Deployment.objects.get()
    assert (row.outcome, row.deployment) == ("accepted", deployment)
    assert (deployment.status, deployment.ref, deployment.uid) == ("queued", ref, None)
    assert deployment.requested_by == "grace, through the site"
    assert deployment.requested_from == "198.51.100.9"


@pytest.mark.parametrize("ref", ["evil", "releases", "main2", "refs/heads/main", "--override", ""])
def test_another_ref_is_refused_and_says_what_is_allowed_and_what_to_type(
    ops: OpsSettings, ref: str
) -> None:
    row = answered(write(ref=ref), ops)

    assert row.outcome == "refused"
    assert "Nothing was done; traffic is as it was." in row.answer
    assert not Deployment.objects.exists()
    if ref == "evil":
        assert row.answer.startswith(
            "'evil' may not be asked for through the site, only main, release/* and its commits."
        )
        assert "OPS_REQUEST_REFS" in row.answer
    event = SecurityEvent.objects.get()
    assert (event.event, event.username) == ("refused", "grace, through the site")


def test_without_a_list_it_is_the_branch_alone(ops_settings: OpsSettingsFactory) -> None:
    ops = ops_settings(branch="live")
    assert answered(write(ref="main"), ops).outcome == "refused"
    assert answered(write(ref="live"), ops).outcome == "accepted"


@pytest.mark.parametrize("kind", ["shell", "purge", "", "DEPLOY", "deploy "])
def test_what_is_not_on_the_list_cannot_be_asked_for(ops: OpsSettings, kind: str) -> None:
    assert "cannot be asked for" in answered(write(kind=kind, ref="main"), ops).answer


@pytest.mark.parametrize(
    "name",
    ["root", "ada, through the site", "x" * 150, "", "a\x1b[2J\nroot logged in", "\u202eadmin"],
)
def test_no_name_written_by_the_web_equals_one_of_a_shell(ops: OpsSettings, name: str) -> None:
    answered(write(ref="main", requested_by=name), ops)

    who = Deployment.objects.get().requested_by
    assert who.endswith(", through the site")
    assert who.isprintable()
    assert len(who) <= 150
    assert who.count("through") == 1


def test_the_answer_and_the_time_are_not_for_the_web_to_write(ops: OpsSettings) -> None:
    ended = Deployment.objects.create(
        status="succeeded", ref="main", started_at=timezone.now(), finished_at=timezone.now()
    )
    future = datetime(2199, 1, 1, tzinfo=UTC)
    row = write(
        ref="main", outcome="accepted", answer="done", deployment=ended, created_at=future,
        answered_at=future,
    )  # fmt: skip
    row.refresh_from_db()

    assert (row.outcome, row.answer, row.deployment, row.answered_at) == ("", "", None, None)
    assert timezone.now() - row.created_at < timedelta(minutes=1)


@pytest.mark.parametrize("until", ["infinity", "-infinity", "4000-01-01 BC", "200000-01-01"])
def test_a_time_that_cannot_be_read_cannot_be_written(until: str) -> None:
    with (
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO ops_request (kind, ref, reason, until, requested_by, requested_from, "
            "outcome, answer) VALUES ('freeze', '', 'x', %s, '', '', '', '')",
            [until],
        )


def test_what_waited_for_an_hour_is_refused(ops: OpsSettings) -> None:
    row = write(ref="main")
    Request.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    assert "more than an hour" in answered(row, ops).answer


def test_of_thousands_the_newest_are_looked_at_and_the_others_refused_unread(
    ops: OpsSettings,
) -> None:
    Request.objects.bulk_create(
        Request(kind="deploy", ref="evil", requested_by="x") for _ in range(1500)
    )
    last = write(ref="main")

    done = answers.answer(ops)

    assert done == requests.AT_ONCE + answers.BATCH
    last.refresh_from_db()
    assert last.outcome == "accepted"
    answers.answer(ops)
    assert not Request.objects.filter(outcome="").exists()
    assert (
        Request.objects.filter(answer__startswith="Too much was asked for at once").count() >= 1400
    )
    # One line for each thousand, and one for each that was read.
    assert SecurityEvent.objects.count() <= 2 * requests.AT_ONCE + 2
    Request.objects.filter(outcome="accepted").update(outcome="refused")
    answers.prune()
    assert Request.objects.count() == answers.KEPT


def test_a_queue_of_commits_has_an_end(ops: OpsSettings) -> None:
    for number in range(answers.MAX_WAITING + 1):
        last = answered(write(ref=f"{number:040x}"), ops)

    assert "wait already" in last.answer
    assert Deployment.objects.count() == answers.MAX_WAITING


def test_a_replay_of_what_waits_is_refused(ops: OpsSettings) -> None:
    answered(write(ref="main"), ops)
    assert "is asked for already" in answered(write(ref="main"), ops).answer


def test_a_freeze_asked_for_on_the_site_holds_and_is_lifted_there(ops: OpsSettings) -> None:
    freezes.in_force(ops.state_dir)
    row = answered(write(kind="freeze", reason="Christmas\x1b[2J\n market"), ops)

    there = freezes.in_force(ops.state_dir)
    assert there
    assert row.answer == f"Deployments are frozen by {there.describe()}."
    assert (there.reason, there.frozen_by) == ("Christmas [2J market", "grace, through the site")
    assert Freeze.objects.get(lifted_at=None).reason == there.reason
    assert "frozen already" in answered(write(kind="freeze", reason="again"), ops).answer

    assert answered(write(kind="unfreeze"), ops).outcome == "accepted"
    assert freezes.in_force(ops.state_dir) is None
    assert not Freeze.objects.filter(lifted_at=None).exists()


def test_a_freeze_made_in_a_shell_is_not_lifted_on_the_site(ops: OpsSettings) -> None:
    made = freezes.freeze("audit", by="ada", state_dir=ops.state_dir)

    row = answered(write(kind="unfreeze", requested_by="ada"), ops)

    assert (row.outcome, freezes.in_force(ops.state_dir)) == ("refused", made)
    assert "lifted only there" in row.answer


@pytest.mark.parametrize("ref", ["", "x", "-1", "1e3", "9" * 30])
def test_what_is_no_number_cancels_nothing(ops: OpsSettings, ref: str) -> None:
    assert "no deployment's number" in answered(write(kind="cancel", ref=ref), ops).answer


def test_what_was_asked_for_in_a_shell_or_has_ended_is_not_cancelled_on_the_site(
    ops: OpsSettings,
) -> None:
    uid = new_uid()
    row = Deployment.objects.create(
        status="running", ref="main", uid=uid, requested_by="ada", started_at=timezone.now()
    )
    said = answered(write(kind="cancel", ref=str(row.pk)), ops).answer
    assert "cancelled only there" in said
    said = answered(write(kind="cancel", ref="999999999"), ops).answer
    assert "neither runs nor waits" in said


def test_one_that_waits_is_cancelled_and_not_begun(ops: OpsSettings) -> None:
    answered(write(ref="main"), ops)
    deployment = requests.claim()
    assert deployment

    row = answered(write(kind="cancel", ref=str(deployment.pk), requested_by="ann"), ops)

    assert row.answer == f"Deployment #{deployment.pk} waits no more."
    deployment.refresh_from_db()
    assert deployment.error == "It was cancelled by ann, through the site before it began."
    with pytest.raises(Refused, match="nothing is done twice"):
        requests.require_waiting(str(deployment.uid), kind="deploy", settings=ops)


@pytest.fixture
def container() -> Iterator[str]:
    name = f"cancel-{secrets.token_hex(4)}"
    image = ["python:3.13-slim-trixie", "sleep", "600"]
    argv = ["docker", "run", "--detach", "--init", "--network", "none", "--name", name, *image]
    subprocess.run(argv, check=True, capture_output=True)
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def test_one_that_runs_gets_a_sigterm(ops: OpsSettings, container: str) -> None:
    uid = new_uid()
    row = Deployment.objects.create(
        status="running",
        ref="main",
        uid=uid,
        requested_by=through_the_site("grace"),
        started_at=timezone.now(),
    )
    with deploy_lock(ops.state_dir, holder="grace deploys main", uid=uid):
        path = ops.state_dir / FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), "container": container}))
        said = answered(write(kind="cancel", ref=str(row.pk)), ops).answer

    assert "was asked to stop" in said
    inspect = ["docker", "inspect", "--format", "{{.State.ExitCode}}:{{.State.Status}}", container]
    wait_until(lambda: subprocess.check_output(inspect, text=True).strip() == "143:exited")
