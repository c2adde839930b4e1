"""Going back: by hand with `rollback`, and by itself when a release fails its visitors."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.e2e.conftest import RATE, Scene
from tests.e2e.test_bad_deployments import append, assert_untouched
from tests.e2e.test_migrations import adding, columns_of, renaming
from tests.rig.load import visitors
from tests.rig.stack import ScratchStack, run
from tests.servers import wait_until

BUSY = 4
FAILS_ONE_IN_TEN = """
import itertools

_count = itertools.count()


class FailsOneInTen:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.headers.get("User-Agent") != "changeover" and next(_count) % 10 == 9:
            raise RuntimeError("one in ten")
        return self.get_response(request)


MIDDLEWARE.append("config.settings.FailsOneInTen")
"""


@pytest.fixture(scope="module")
def releases(stack: ScratchStack) -> list[str]:
    """Three that went live one after the other, the oldest first."""
    shas = []
    for name in ("Oldest", "Older", "Newest"):
        shas.append(stack.commit(name, lambda project: None))
        assert stack.deploy().code == 0
    return shas


def test_a_rollback_to_the_warm_standby_builds_and_starts_nothing(
    stack: ScratchStack, releases: list[str], scene: Scene
) -> None:
    older = releases[1]
    before = scene.before
    standby = {"blue": "green", "green": "blue"}[before["live"]]

    result = stack.rollback()

    assert result.code == 0, result.output
    decided = result.event("step_succeeded", step="choose")
    moved = datetime.fromisoformat(result.event("ended")["swapped_at"])
    print("decision to traffic:", moved - datetime.fromisoformat(decided["time"]))
    now = scene.look()
    assert (now["live"], now["front_door"]["release"]) == (standby, older)
    assert now["colors"][standby]["started_at"] == before["colors"][standby]["started_at"]
    assert now["services"]["django-q"]["release"] == older
    assert now["problems"] == []
    row = scene.history(result)
    assert (row["kind"], row["status"], row["release"]) == ("rollback", "succeeded", older)
    assert result.event("planned")["environment"] == {"added": [], "removed": [], "changed": []}


def test_a_rollback_to_an_older_release_starts_its_kept_image(
    stack: ScratchStack, releases: list[str], scene: Scene
) -> None:
    oldest = releases[0]

    result = stack.rollback(oldest[:8])

    assert result.code == 0, result.output
    assert stack.status()["front_door"]["release"] == oldest


def test_a_release_that_is_not_there_is_refused_and_named(
    stack: ScratchStack, scene: Scene
) -> None:
    before = stack.status()

    for wrong in ("0123456789ab", before["front_door"]["release"], "../../etc", "x"):
        result = stack.rollback(wrong)
        assert result.code == 5, result.output
        assert "manage.py" in result.event("ended")["error"]["next"]
    assert_untouched(scene)


def test_a_rollback_works_with_postgres_down_and_is_in_the_history_afterwards(
    stack: ScratchStack,
) -> None:
    older = stack.status()["front_door"]["release"]
    stack.commit("Just before", lambda project: None)
    assert stack.deploy().code == 0
    postgres = f"{stack.project}-postgres-1"
    run(["docker", "stop", "--time", "20", postgres])
    try:
        result = stack.rollback()
    finally:
        run(["docker", "start", postgres])

    assert result.code in (0, 6), result.output
    stack.compose("up", "--detach", "--no-recreate", "--no-build", "--wait", "postgres")
    # The agent, started anew by the rollback, may be about to do the same.
    codes = []
    wait_until(lambda: codes.append(stack.manage("recover").code) or codes[-1] != BUSY)
    assert codes[-1] == 0
    rows = stack.status()["deployments"]
    assert (rows[0]["kind"], rows[0]["status"], rows[0]["release"]) == (
        "rollback",
        "succeeded",
        older,
    )
    assert stack.deploy().code == 0


def test_migrations_that_the_older_code_cannot_run_with_are_reversed_behind_the_page(
    stack: ScratchStack,
) -> None:
    older = stack.commit("A tempo", adding("tempo"))
    assert stack.deploy().code == 0
    stack.commit("The tempo is renamed", renaming("tempo", "pace"), branch="renamed")
    assert stack.deploy("renamed", "--maintenance").code == 0

    refused = stack.rollback(older[:12])
    assert refused.code == 5, refused.output
    said = refused.event("ended")["error"]
    assert "rename_tempo" in said["next"]
    assert "--maintenance" in said["next"]

    result = stack.rollback(older[:12], "--maintenance")

    assert result.code == 0, result.output
    assert {"tempo"} == columns_of(stack) & {"tempo", "pace"}
    status = stack.status()
    assert (status["front_door"]["release"], status["maintenance"]) == (older, False)
    assert status["problems"] == []


def test_a_release_that_is_healthy_and_fails_its_visitors_is_moved_back_by_itself(
    stack: ScratchStack,
) -> None:
    before = stack.status()
    stack.commit("Fails", append("config/settings.py", FAILS_ONE_IN_TEN), branch="fails")

    with visitors(stack.port, rate=RATE) as traffic:
        result = stack.deploy("fails", options=("-e", "OPS_BAKE_SECONDS=30"))

    assert result.code == 3, result.output
    moved = datetime.fromisoformat(result.event("ended")["swapped_at"]).timestamp()
    print(f"moved back {max(r.ended for r in traffic.failed) - moved:.1f} s after the swap")
    assert all(r.error.endswith(": 500") for r in traffic.failed)
    now = stack.status()
    assert now["live"] == before["live"]
    assert now["front_door"]["release"] == before["front_door"]["release"]
    assert now["services"]["django-q"]["release"] == before["services"]["django-q"]["release"]
    row = now["deployments"][0]
    assert (row["status"], row["exit_code"]) == ("rolled back", 3)
