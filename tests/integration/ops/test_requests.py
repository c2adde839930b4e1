"""What was asked for in the admin runs in containers of its own, on the real engine."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from threading import Barrier, Thread

import pytest
from django.db import connection

from apps.ops.agent import answers
from apps.ops.agent.requests import LABEL, Requests
from apps.ops.conf import OpsSettings
from apps.ops.deploys import requests
from apps.ops.deploys.lock import deploy_lock
from apps.ops.models import Deployment
from apps.ops.stack.one_offs import OneOff, OneOffs
from tests.conftest import OpsSettingsFactory
from tests.servers import wait_until

# A stand-in for manage.py; how it ends is in the ref.
SCRIPT = """
echo "$0 $1 $2 ref=$3 by=$OPS_REQUESTED_BY from=$OPS_REQUESTED_FROM"
case "$3" in stay) exec sleep 600;; busy) exit 4;; *) exit 1;; esac
"""
COMPOSE = """
services:
  utility:
    image: python:3.13-slim-trixie
    pull_policy: never
    network_mode: none
    init: true
    restart: unless-stopped
    stop_grace_period: 1s
"""

db = pytest.mark.django_db
written = pytest.mark.django_db(transaction=True)


def ask(ref: str = "main", kind: str = "deploy", by: str = "ada") -> Deployment:
    """What the agent makes of it."""
    asked = requests.ask(kind, ref, by=by, origin="192.0.2.7")
    answers.answer(OpsSettings(request_refs=("*",)))
    return Deployment.objects.get(request=asked)


def row() -> Deployment:
    return Deployment.objects.get()


@pytest.fixture
def ops(ops_settings: OpsSettingsFactory) -> Iterator[OpsSettings]:
    """A project of its own on the engine of this machine."""
    found = ops_settings(
        project=f"requests-{secrets.token_hex(4)}",
        compose_files=("compose.yml",),
        request_refs=("stay", "other", "main", "b*"),
    )
    found.checkout.mkdir()
    (found.checkout / "compose.yml").write_text(COMPOSE)
    yield found
    for one in OneOffs(found.project).labelled(LABEL):
        subprocess.run(["docker", "rm", "--force", one.name], check=True, capture_output=True)


@pytest.fixture
def agent(ops: OpsSettings) -> Requests:
    return Requests(ops, command=("sh", "-c", SCRIPT))


def containers(ops: OpsSettings) -> list[OneOff]:
    return OneOffs(ops.project).labelled(LABEL)


def until_it_has_ended(ops: OpsSettings) -> None:
    wait_until(lambda: containers(ops) and all(one.ended for one in containers(ops)))


@db
def test_it_runs_in_a_container_of_its_own_in_the_name_of_whoever_asked(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("stay", by="grace hopper")
    agent.look()

    [one] = containers(ops)
    uid = row().uid
    assert (one.name, one.status) == (f"{ops.project}-request-{uid}", "running")
    output = OneOffs(ops.project).output(one.name, lines=5)
    assert output.strip() == (
        f"deploy --request {uid} ref=stay by=grace hopper, through the site from=192.0.2.7"
    )
    policy = ["docker", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", one.name]
    restart = subprocess.run(policy, capture_output=True, text=True, check=True).stdout.strip()
    assert restart in ("", "no")  # It does not come back by itself.


@db
def test_looking_again_and_a_second_agent_start_nothing_twice(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("stay")
    ask("other")
    for one in (agent, Requests(ops, command=("sh", "-c", SCRIPT)), agent):
        one.look()

    assert len(containers(ops)) == 1
    # One at a time: the second waits in the queue.
    assert [d.uid is None for d in Deployment.objects.order_by("id")] == [False, True]


@written
def test_two_agents_that_start_the_same_row_at_once_start_it_once(ops: OpsSettings) -> None:
    ask("stay")
    assert requests.claim()
    together, raised = Barrier(2), []

    def agent() -> None:
        mine = Requests(ops, command=("sh", "-c", SCRIPT))
        together.wait()
        try:
            mine.look()
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [Thread(target=agent) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not raised
    assert [one.status for one in containers(ops)] == ["running"]
    assert row().status == "queued"


@db
def test_an_agent_that_was_killed_after_it_took_a_row_has_it_started_by_the_next(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("stay")
    assert requests.claim()

    agent.look()

    assert len(containers(ops)) == 1


@db
def test_one_killed_between_making_and_starting_a_container_has_it_started_by_the_next(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("stay")
    taken = requests.claim()
    assert taken
    name = f"{ops.project}-request-{taken.uid}"
    labels = [f"{LABEL}={taken.uid}", f"com.docker.compose.project={ops.project}"]
    flags = [part for label in labels for part in ("--label", label)]
    image = ["python:3.13-slim-trixie", "sleep", "600"]
    create = ["docker", "create", "--init", "--network", "none", "--name", name, *flags, *image]
    subprocess.run(create, check=True, capture_output=True)

    agent.look()

    assert [one.status for one in containers(ops)] == ["running"]


@db
def test_one_that_ends_before_it_begins_has_failed_with_its_last_lines(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("breaks")
    agent.look()
    until_it_has_ended(ops)
    agent.look()

    assert (row().status, row().exit_code) == ("failed", 1)
    assert row().error.startswith("It ended with exit code 1 before it began.\n\ndeploy --request")
    assert agent.tidy() == 1
    assert not containers(ops)


@db
def test_one_that_met_another_deployment_is_taken_again_more_and_more_rarely(
    ops: OpsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "apps.ops.agent.requests")
    agent = Requests(ops, command=("sh", "-c", SCRIPT), put_back_seconds=0.01)
    ask("busy")
    seen = {None}
    for pause in ("0.01", "0.02", "0.04"):
        wait_until(lambda: agent.look() or row().uid not in seen)
        seen.add(row().uid)
        until_it_has_ended(ops)
        agent.look()
        assert (row().status, row().uid) == ("queued", None)
        assert caplog.messages[-1].endswith(f"could not begin; again in {pause} s")
        assert agent.tidy() == 1


@db
def test_one_that_was_put_back_rests_and_holds_up_no_other(
    ops: OpsSettings, agent: Requests
) -> None:
    busy = ask("busy")
    agent.look()
    until_it_has_ended(ops)
    agent.look()
    agent.look()
    busy.refresh_from_db()
    assert (busy.status, busy.uid) == ("queued", None)

    other = ask("stay")
    agent.look()
    busy.refresh_from_db()
    other.refresh_from_db()
    assert busy.uid is None
    assert other.uid


@db
def test_while_somebody_deploys_nothing_is_taken(ops: OpsSettings, agent: Requests) -> None:
    ask("stay")
    with deploy_lock(ops.state_dir, holder="grace deploys main"):
        agent.look()
    assert row().uid is None
    assert not containers(ops)


@written
def test_one_that_has_begun_is_never_started_again_also_when_its_container_is_gone(
    ops: OpsSettings, agent: Requests
) -> None:
    ask("stay")
    taken = requests.claim()
    assert taken
    journal = ops.state_dir / "journal" / f"{taken.uid}.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("")

    agent.look()

    assert not containers(ops)
    assert row().status == "queued"


@db
def test_what_cannot_be_started_has_failed_and_says_what_compose_said(
    ops: OpsSettings, agent: Requests
) -> None:
    (ops.checkout / "compose.yml").write_text("services: [")
    ask()
    agent.look()
    assert row().status == "queued"  # It can be another agent's name that is in the way.
    agent.look()

    assert row().status == "failed"
    assert row().error.startswith("It could not be started.\n\n")
    assert "yaml" in row().error


@db
def test_a_row_that_somebody_wrote_past_the_form_is_not_run(
    ops: OpsSettings, agent: Requests
) -> None:
    Deployment.objects.create(ref="--override", kind="deploy", requested_by="mallory")
    agent.look()

    assert (row().status, row().error) == ("failed", "That is no branch, tag or commit.")
    assert not containers(ops)


@db
@pytest.mark.parametrize("uid", ["../../etc/x", "20261123T120000-abcdef; id", "a" * 30])
def test_a_name_that_no_agent_gave_becomes_no_containers_name(
    ops: OpsSettings, agent: Requests, uid: str
) -> None:
    Deployment.objects.create(ref="main", kind="deploy", requested_by="mallory", uid=uid)
    agent.look()

    assert (row().status, row().error) == ("failed", "No agent has given it its name.")
    assert not containers(ops)


@db
def test_a_row_written_past_the_page_is_not_run_in_a_shells_name(
    ops: OpsSettings, agent: Requests
) -> None:
    Deployment.objects.create(ref="stay", kind="deploy", requested_by="root\x1b[2J")
    agent.look()

    [one] = containers(ops)
    assert "by=root [2J, through the site from=admin" in OneOffs(ops.project).output(
        one.name, lines=5
    )
