"""What carries out a request looks for itself: at the remote's branches, at the journal."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.utils import timezone

from apps.ops.colors import Color
from apps.ops.deploys import requests
from apps.ops.deploys.context import Deploy, Options
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.operations import deploy as carry_out
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.rollback import make_rollback_plan
from apps.ops.deploys.steps.fetch import Fetch
from apps.ops.errors import Refused
from apps.ops.models import Deployment, Release
from apps.ops.source import Checkout, Commit
from apps.ops.stack.engine import PROJECT_LABEL, Engine
from apps.ops.stack.service import RELEASE_LABEL
from tests.conftest import Git, OpsSettingsFactory
from tests.integration.ops.conftest import begin
from tests.servers import HUNG_SECONDS

db = pytest.mark.django_db


def test_a_commit_may_be_asked_for_when_an_allowed_branch_has_it(
    git: Git, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    second = git.push("Second")
    git.run("checkout", "--quiet", "-b", "evil")
    evil = git.push("Evil", {"README": "mine\n"})
    git.run("push", "--quiet", "origin", "evil:refs/heads/release/1", "evil:refs/tags/main-2")
    checkout.fetch(seconds=HUNG_SECONDS, say=print)

    def allowed(sha: str, *refs: str, ref: str = "") -> bool:
        settings = ops_settings(request_refs=refs)
        try:
            requests.require_allowed_commit(sha, ref or sha, checkout=checkout, settings=settings)
        except Refused:
            return False
        return True

    assert allowed(git.first)
    assert allowed(second)
    assert not allowed(evil)
    assert not allowed(evil, "main", "main-?")  # A tag is not where commits are looked for.
    assert allowed(evil, "release/*")
    assert allowed(evil, "e*", ref="evil")


def test_a_branch_named_like_a_commit_lets_no_other_commit_in(
    git: Git, deploy: Deploy, checkout: Checkout
) -> None:
    git.run("checkout", "--quiet", "-b", git.first[:12])
    git.push("Looks like the first commit", {"README": "mine\n"})
    deploy.checkout, deploy.requested, deploy.ref = checkout, True, git.first[:12]
    deploy.settings = replace(deploy.settings, checkout=git.checkout)
    deploy._plan = None

    with pytest.raises(Refused, match="means 2 commits"):
        Fetch().run(deploy)
    assert not deploy.planned


@pytest.mark.parametrize("said", ["evil", "refs/heads/evil", "heads/evil", "origin/evil"])
def test_no_way_to_say_a_branch_makes_it_fit_a_pattern_for_other_names(
    git: Git, checkout: Checkout, ops_settings: OpsSettingsFactory, said: str
) -> None:
    git.run("checkout", "--quiet", "-b", "evil")
    evil = git.push("Evil", {"README": "mine\n"})
    checkout.fetch(seconds=HUNG_SECONDS, say=print)

    allowing, other = ("ev*", "refs/heads/*"), ("r*", "h*", "o*", "refs/tags/*")
    for pattern in allowing + other:
        settings = ops_settings(request_refs=(pattern,))
        with (
            nullcontext()
            if pattern in allowing
            else pytest.raises(Refused, match="may not be asked for")
        ):
            requests.require_allowed_commit(evil, said, checkout=checkout, settings=settings)


@pytest.mark.django_db(transaction=True)
def test_who_asked_and_what_for_is_read_from_the_row_and_has_no_options(
    ops_settings: OpsSettingsFactory,
) -> None:
    settings = ops_settings(requested_by="root", request_refs=("main", "other"))
    uid = "20261123T120000-abcdef"
    Deployment.objects.create(ref="other", uid=uid, requested_by="grace", requested_from="::1")

    outcome = carry_out(
        "main",
        settings=settings,
        presenter=Listener(),
        options=Options(override=True, maintenance=True),
        request=uid,
    )

    # It stops at the fetch: there is no checkout.
    assert outcome.exit_code == 1
    row = Deployment.objects.get()
    assert (row.ref, row.requested_by, row.requested_from) == (
        *("other", "grace, through the site", "::1"),
    )
    told = (settings.state_dir / "journal" / f"{uid}.jsonl").read_text()
    assert '"override": true' not in told
    assert '"maintenance": true' not in told


@db
@pytest.mark.parametrize("uid", ["../../x", "", "20261123T120000-abcdef\n", "x" * 5000])
def test_a_made_up_name_of_a_request_is_no_files_name(
    ops_settings: OpsSettingsFactory, uid: str
) -> None:
    settings = ops_settings()
    outcome = carry_out("main", settings=settings, presenter=Listener(), request=uid)

    assert outcome.exit_code == 5
    assert not list(settings.state_dir.rglob("*.jsonl"))


@pytest.fixture
def kept(deploy: Deploy) -> Iterator[list[str]]:
    """Three releases whose images are kept, on the real engine."""
    project = f"gates-{secrets.token_hex(4)}"
    deploy.settings = replace(deploy.settings, project=project)
    deploy.engine = Engine(project)
    shas = [digit * 40 for digit in "abc"]
    for sha in shas:
        labels = [f"{PROJECT_LABEL}={project}", f"{RELEASE_LABEL}={sha}"]
        flags = [part for label in labels for part in ("--label", label)]
        argv = ["docker", "build", "--quiet", "--tag", f"{project}:{sha}", *flags, "-"]
        dockerfile = b"FROM python:3.13-slim-trixie\n"
        subprocess.run(argv, input=dockerfile, check=True, capture_output=True)
    yield shas
    images = [f"{project}:{sha}" for sha in shas]
    subprocess.run(["docker", "rmi", *images], check=True, capture_output=True)


def told(deploy: Deploy, sha: str, **how: Any) -> None:
    """A deployment that the journal knows."""
    recorder = begin(deploy.settings.state_dir)
    commit = Commit(sha, "Ada", datetime(2026, 11, 23, tzinfo=UTC), "Say hello")
    recorder.planned(Plan(commit, Color.BLUE, "f" * 40))
    recorder.swapped(timezone.now())
    recorder.ended(Outcome(how.get("status", "succeeded"), how.get("exit_code", 0), 1.0))


@pytest.mark.django_db(transaction=True)
def test_a_rollback_that_was_asked_for_goes_to_what_the_journal_knows_as_stable(
    deploy: Deploy, kept: list[str]
) -> None:
    stable, unstable, forged = kept
    told(deploy, stable)
    told(deploy, unstable, status="rolled back", exit_code=3)
    now = timezone.now()
    Deployment.objects.create(
        status="succeeded",
        ref="main",
        release=Release.objects.create(sha=forged),
        started_at=now,
        swapped_at=now,
        finished_at=now,
    )
    deploy.kind, deploy.requested = "rollback", True

    deploy.ref = None
    assert make_rollback_plan(deploy).commit.sha == stable
    deploy.ref = stable[:12]
    assert make_rollback_plan(deploy).commit.sha == stable
    for ref in (unstable, forged):
        deploy.ref = ref
        with pytest.raises(Refused, match="was not live and stable, as far as the journal tells"):
            make_rollback_plan(deploy)

    # In a shell the history counts, and a person decides.
    deploy.requested = False
    deploy.ref = forged
    assert make_rollback_plan(deploy).commit.sha == forged


@db
def test_who_had_the_one_permission_has_each_of_the_new_ones() -> None:
    migration = import_module("apps.ops.migrations.0006_requests")
    holder, other = (User.objects.create_user(name) for name in ("holder", "other"))
    group = Group.objects.create(name="deployers")
    for held in (holder.user_permissions, group.permissions):
        held.add(Permission.objects.get(codename="add_deployment"))
    Permission.objects.filter(codename__startswith="request_").delete()

    with connection.schema_editor() as editor:
        for _ in range(2):
            migration.one_becomes_many(None, editor)

    asking = {name for name, _ in migration.NAMES.items()}
    assert asking == {
        f"request_{k}" for k in ("deploy", "rollback", "cancel", "freeze", "unfreeze")
    }
    for held in (holder.user_permissions, group.permissions):
        assert set(held.values_list("codename", flat=True)) == asking | {"add_deployment"}
    assert not other.user_permissions.exists()
