from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apps.ops.deploys.steps.swap import LIVE_CPU_SHARES
from apps.ops.stack.engine import Engine
from tests.e2e.conftest import Scene
from tests.e2e.test_bad_deployments import replace
from tests.e2e.test_migrations import migrate
from tests.e2e.test_the_stack import inspect
from tests.rig.load import Traffic, visitors
from tests.rig.report import Ledger
from tests.rig.stack import Result, ScratchStack, run

OWNER = 4321
SERVICES_OF = {"blue": "django-a", "green": "django-b"}


@dataclass
class Deployed:
    """A deployment under traffic that several tests look at, and how things were around it."""

    sha: str
    result: Result
    before: dict[str, Any]
    after: dict[str, Any]
    traffic: Traffic

    @property
    def old(self) -> str:
        """The colour that was live."""
        return str(self.before["live"])


def deploy(stack: ScratchStack, sha: str, *options: str) -> Deployed:
    before = stack.status()
    with visitors(stack.port, rate=30.0) as traffic:
        result = stack.deploy(options=options)
    assert result.code == 0, result.output
    assert not traffic.failed, traffic.failed[:5]
    return Deployed(sha, result, before, stack.status(), traffic)


@pytest.fixture(scope="module")
def deployed(stack: ScratchStack) -> Deployed:
    return deploy(stack, stack.commit("A new heading", _new_heading))


@pytest.fixture(scope="module")
def again(stack: ScratchStack, deployed: Deployed) -> Deployed:
    """The same release once more, and no standby wanted."""
    return deploy(stack, deployed.sha, "-e", "OPS_KEEP_STANDBY=false")


@pytest.fixture(scope="module")
def migrated(stack: ScratchStack) -> tuple[Deployed, set[int]]:
    """One with a migration, from a checkout that belongs to somebody else; who owns what then."""
    sha = stack.commit("A new column", _new_column)
    run(["chown", "--recursive", f"{OWNER}:{OWNER}", str(stack.site)])
    try:
        done = deploy(stack, sha)
        return done, {path.lstat().st_uid for path in stack.site.rglob("*")}
    finally:
        run(["chown", "--recursive", "0:0", str(stack.site)])


def test_the_first_deployment_on_an_empty_database_is_the_same_command(stack: ScratchStack) -> None:
    assert stack.first.code == 0, stack.first.output
    assert stack.first.event("planned")["live_release"] == ""
    steps = [e["step"] for e in stack.first.events if e["event"] == "step_succeeded"]
    assert steps == [
        *("fetch", "build", "preflight", "pause", "backup", "migrate", "static", "start"),
        *("workers", "swap", "resume", "bake", "retire", "edge", "purge", "contract", "prune"),
        "agent",
    ]
    assert stack.first.event("planned")["candidate"] == "green"


def test_a_deployment_moves_all_traffic(stack: ScratchStack, deployed: Deployed) -> None:
    result, now = deployed.result, deployed.after
    assert now["front_door"]["release"] == deployed.sha
    assert now["live"] != deployed.old
    assert now["services"]["django-q"]["release"] == deployed.sha
    row = next(r for r in now["deployments"] if r["id"] == result.event("ended")["deployment"])
    assert (row["status"], row["release"], row["exit_code"]) == ("succeeded", deployed.sha, 0)
    assert run(["git", "rev-parse", "HEAD"], cwd=stack.site).output.strip() == deployed.sha


def test_posts_and_their_tasks_are_each_counted_once_across_a_deployment(
    stack: ScratchStack, deployed: Deployed
) -> None:
    assert deployed.traffic.posted
    ledger = Ledger.of(stack, deployed.traffic)
    assert (ledger.lost, ledger.doubled, ledger.tasks_lost) == (0, 0, 0)


def test_the_old_colour_is_kept_as_a_warm_standby(deployed: Deployed) -> None:
    after = deployed.after["colors"][deployed.old]
    assert after["status"] == "running"
    assert after["started_at"] == deployed.before["colors"][deployed.old]["started_at"]
    assert after["in_flight"] == 0


def test_the_live_colour_comes_before_all_else_where_the_processors_are_short(
    stack: ScratchStack, deployed: Deployed
) -> None:
    live = inspect(stack, SERVICES_OF[deployed.after["live"]])["HostConfig"]["CpuShares"]
    for service in (SERVICES_OF[deployed.old], "django-q"):
        assert inspect(stack, service)["HostConfig"]["CpuShares"] < live == LIVE_CPU_SHARES


def test_the_old_colour_is_stopped_when_no_standby_is_wanted(again: Deployed) -> None:
    assert again.after["colors"][again.old]["status"] == "exited"


def test_an_image_that_exists_is_not_built_again(again: Deployed) -> None:
    summary = again.result.event("step_succeeded", step="build")["summary"]
    assert summary == "its image is there already"


def test_what_changed_in_the_environment_is_told_by_name_and_never_by_value(
    stack: ScratchStack, scene: Scene
) -> None:
    added, changed = "an-older-signing-key", "0.5012345"
    stack.write_env(SECRET_KEY_FALLBACKS=added, OPS_SETTLE_SECONDS=changed)
    names = {"added": ["SECRET_KEY_FALLBACKS"], "removed": [], "changed": ["OPS_SETTLE_SECONDS"]}
    in_words = "added SECRET_KEY_FALLBACKS; changed OPS_SETTLE_SECONDS"
    try:
        plan = stack.manage("deploy", "--plan").output
        result = stack.deploy()
    finally:
        stack.write_env(SECRET_KEY_FALLBACKS=None, OPS_SETTLE_SECONDS="0.5")

    assert f"environment: {in_words}\n" in plan
    assert result.code == 0, result.output
    assert result.event("planned")["environment"] == names
    read = "cat /var/lib/changeover/journal/*.jsonl"
    journal = stack.compose("run", "--rm", "-T", "utility", "sh", "-c", read).output
    rows = stack.compose("exec", "-T", "postgres", "pg_dump", "-U", "site", "site").output
    assert f"environment: {in_words}" in journal
    assert f"environment: {in_words}" in rows
    for said in (plan, result.output, result.errors, journal, rows):
        assert added not in said
        assert changed not in said


def test_a_branch_a_tag_and_a_short_sha_can_be_deployed(stack: ScratchStack, scene: Scene) -> None:
    sha = stack.commit("On a branch", lambda project: None, branch="feature/x")
    run(["git", "tag", "v1.0", sha], cwd=stack.work)
    run(["git", "push", "--quiet", "origin", "v1.0"], cwd=stack.work)

    result = stack.deploy("feature/x")

    assert result.code == 0, result.output
    assert result.event("planned")["release"] == sha
    for ref in ("v1.0", sha[:8]):
        planned = stack.look("deploy", ref, "--plan", "--format", "json")
        assert json.loads(planned.output)["release"] == sha


def test_a_migration_is_applied_once_before_the_candidate_starts(
    migrated: tuple[Deployed, set[int]],
) -> None:
    done, _ = migrated
    steps = [e["step"] for e in done.result.events if e["event"] == "step_succeeded"]
    assert done.result.event("step_succeeded", step="migrate")["summary"] == "1 applied"
    assert steps.index("migrate") < steps.index("start")


def test_the_checkout_keeps_its_owner(migrated: tuple[Deployed, set[int]]) -> None:
    assert migrated[1] == {OWNER}


def test_old_images_go_and_those_in_use_stay(stack: ScratchStack, scene: Scene) -> None:
    shas = [stack.commit(f"Release {n}", lambda project: None) for n in range(2)]
    for sha in shas:
        assert stack.deploy(sha, options=("-e", "OPS_KEEP_RELEASES=2")).code == 0

    # The site's jobs follow when theirs have ended.
    jobs = {service.release for service in Engine(stack.project).services("jobs")}
    tags = run(["docker", "image", "ls", "--format", "{{.Tag}}", stack.project]).output.split()
    assert set(shas) <= {t for t in tags if len(t) == 40} <= {*shas, *jobs}
    assert {f"utility-{t}" for t in tags if len(t) == 40} == {
        t for t in tags if t.startswith("utility-")
    }
    assert {"blue", "green", "worker", "utility"} <= set(tags)


def test_the_plan_says_what_would_happen_and_changes_nothing(
    stack: ScratchStack, scene: Scene
) -> None:
    sha = stack.commit("To be planned", _another_edge, branch="planned")
    images = images_of(stack)

    result = stack.manage("deploy", "planned", "--plan", "--format", "json")

    plan = json.loads(result.output)
    assert result.code == 0
    assert (plan["release"], plan["image_exists"]) == (sha, False)
    assert plan["candidate"] != scene.before["live"]
    assert plan["steps"][0] == "fetch"
    assert {"-\tgrace_period 40s", "+\tgrace_period 39s"} <= set(plan["outside"]["caddyfile"])
    assert plan["outside"]["services"] == {"redis": ["stop_grace_period"]}
    after = stack.status()
    assert after["colors"] == {**scene.before["colors"], **_only_in_flight(after)}
    assert after["deployments"][0]["id"] == scene.before["deployments"][0]["id"]
    assert images_of(stack) == images


def images_of(stack: ScratchStack) -> list[str]:
    listing = ["docker", "image", "ls", "--format", "{{.Tag}} {{.ID}}", stack.project]
    return sorted(run(listing).output.splitlines())


def _only_in_flight(status: dict) -> dict:
    return {
        color: {**state, "in_flight": state["in_flight"]}
        for color, state in status["colors"].items()
    }


def _another_edge(project: Path) -> None:
    replace("docker/caddy/Caddyfile", "grace_period 40s", "grace_period 39s")(project)
    replace("compose.prod.yml", "stop_grace_period: 10s", "stop_grace_period: 11s")(project)


def _new_heading(project: Path) -> None:
    page = project / "apps/home/templates/home/index.html"
    page.write_text(page.read_text().replace("</h1>", " and all</h1>", 1))


def _new_column(project: Path) -> None:
    column = 'models.CharField(max_length=10, blank=True, default="", db_default="")'
    migrate(project, "mood", f'AddField("message", "mood", {column})')
    models = project / "apps/home/models.py"
    text = models.read_text()
    models.write_text(
        text.replace(
            "    name = models.CharField",
            '    mood = models.CharField(max_length=10, blank=True, default="", db_default="")\n'
            "    name = models.CharField",
            1,
        )
    )
