"""What stands before the two colours belongs to the release: judged before anything is touched, and
repaired by whatever repairs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Scene
from tests.e2e.test_bad_deployments import assert_untouched, replace
from tests.rig.stack import ScratchStack, run

CADDYFILE = "docker/caddy/Caddyfile"
NO_CADDYFILE = {
    "an unknown directive": ("\tgrace_period 40s\n", "\tgrace_perod 40s\n"),
    # Only Caddy itself finds out, when it makes what the Caddyfile says.
    "a range that is none": (
        "trusted_proxies static 173.245.48.0/20",
        "trusted_proxies static 1/99",
    ),
}


@pytest.mark.parametrize("what", NO_CADDYFILE)
def test_a_caddyfile_that_caddy_would_not_start_with_is_refused(
    stack: ScratchStack, scene: Scene, what: str
) -> None:
    stack.commit(what, replace(CADDYFILE, *NO_CADDYFILE[what]), branch="broken")

    result = stack.deploy("broken")

    assert result.code == 5, result.output
    said = result.event("ended")["error"]
    assert said["found"].startswith("Caddy would not start with the Caddyfile of"), said
    assert "as before" in said["traffic"], said
    assert_untouched(scene)


@pytest.mark.parametrize("command", ["deploy", "rollback"])
def test_a_caddy_that_fell_over_is_repaired_by_a_deployment_and_by_a_rollback(
    stack: ScratchStack, command: str
) -> None:
    _fall_over(stack)

    result = stack.deploy() if command == "deploy" else stack.rollback()

    assert result.code == 0, result.output
    status = stack.status()
    assert status["front_door"]["release"] == status["colors"][status["live"]]["release"]
    assert status["problems"] == []


def _fall_over(stack: ScratchStack) -> None:
    """As after a reboot: Caddy was created with a Caddyfile that it cannot read."""
    stack.commit("It falls over", replace(CADDYFILE, "grace_period 40s", "grace_perod 40s"))
    run(["git", "fetch", "--quiet", "origin"], cwd=stack.site)
    run(["git", "checkout", "--quiet", "origin/main"], cwd=stack.site)
    stack.compose("up", "--detach", "--no-deps", "--no-build", "--force-recreate", "caddy")
    # The repair is the newest commit, and on the branch.
    stack.commit("It stands again", _right)


def _right(project: Path) -> None:
    file = project / CADDYFILE
    file.write_text(file.read_text().replace("grace_perod", "grace_period"))
