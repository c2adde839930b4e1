"""A server whose site is Postgres' superuser, as all were before the roles, is moved by deployments
under traffic."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import Scene
from tests.e2e.test_an_attacker_with_webs_database import container, live
from tests.rig.stack import ScratchStack, run

SUPERUSERS = (
    "SELECT DISTINCT application_name FROM pg_stat_activity JOIN pg_roles ON rolname = usename"
    " WHERE rolsuper AND (application_name LIKE 'web%' OR application_name = 'worker') ORDER BY 1"
)


def as_before(clone: Path) -> None:
    """All of .env for everybody, no files with secrets, no roles."""
    compose = clone / "compose.prod.yml"
    text = compose.read_text()
    text = re.sub(r"^ +- secrets-\w+:/run/secrets/.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^ +NO_SECRETS: .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("{<<: *app-environment,", "{<<: *environment,")
    text = text.replace("x-app: &app\n", "x-app: &app\n  env_file: .env\n")
    compose.write_text(text)


@pytest.fixture
def server_from_before(stack: ScratchStack) -> ScratchStack:
    compose = (stack.site / "compose.prod.yml").read_text()
    stack.commit("As before the roles", as_before)
    assert stack.deploy().code in (0, 6)
    run(
        ["docker", "run", "--rm", "--volume", f"{stack.project}_secrets-web:/secrets"]
        + [f"{stack.project}:utility", "sh", "-c", "rm /secrets/*"]
    )

    def with_roles(clone: Path) -> None:
        (clone / "compose.prod.yml").write_text(compose)

    stack.commit("With roles", with_roles)
    return stack


def superusers(stack: ScratchStack) -> list[str]:
    psql = ["psql", "--username=site", "--no-align", "--tuples-only", f"--command={SUPERUSERS}"]
    return run(["docker", "exec", container(stack, "postgres"), *psql]).output.split()


def test_the_second_deployment_moves_it_without_a_lost_request(
    server_from_before: ScratchStack, scene: Scene
) -> None:
    stack = server_from_before
    assert "worker" in superusers(stack)

    # By the release from before: it passes what it always did.
    first = stack.deploy()
    assert first.code in (0, 6), first.output
    assert "worker" in superusers(stack)

    # By the one that knows the roles.
    second = stack.deploy()
    assert second.code in (0, 6), second.output
    assert superusers(stack) == []
    secret = stack.setting("POSTGRES_PASSWORD")
    assert secret not in run(["docker", "inspect", live(stack)]).output
    assert "kept as standby" not in second.event("step_succeeded", step="retire")["summary"]
    scene.look()
