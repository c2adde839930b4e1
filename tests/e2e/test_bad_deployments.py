"""Whatever is wrong with a release or a server: the exit code, the sentence, the next command, the
row in the history, and visitors who never notice (the `scene` fixture holds every test to that)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Scene
from tests.rig.stack import Result, ScratchStack, run

BROKEN_MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("home", "0001_initial")]
    operations = [migrations.RunSQL("SELECT 1 / 0", migrations.RunSQL.noop)]
"""


def append(path: str, text: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        file = project / path
        file.write_text((file.read_text() if file.exists() else "") + text)

    return change


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        file = project / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


# The others are not to fail for want of time on a busy machine.
WAITED_FOR = "a candidate that never gets ready"
BROKEN_RELEASES = {
    "a build that fails": (
        replace("Dockerfile", "\nEXPOSE 8000\n", "\nRUN echo it broke && false\n"),
        (1, "build", "did not build", "docker build --target app"),
    ),
    "a migration that fails": (
        append("apps/home/migrations/0009_broken.py", BROKEN_MIGRATION),
        (1, "migrate", "The migrations failed", "showmigrations"),
    ),
    "settings that do not import": (
        append("config/settings.py", '\nraise RuntimeError("settings broke")\n'),
        (1, "build", "did not build", "docker build"),
    ),
    "a candidate that crashes": (
        append("config/wsgi.py", '\nraise RuntimeError("wsgi broke")\n'),
        (1, "start", "crashed", "deploy again"),
    ),
    WAITED_FOR: (
        append("config/settings.py", '\nCACHES["default"]["LOCATION"] = "redis://127.0.0.1:9/0"\n'),
        (1, "start", "was not ready within 15 s", "deploy again"),
    ),
    "a candidate that answers 500": (
        append("apps/home/urls.py", "\nurlpatterns = [path('', lambda request: 1 / 0)]\n"),
        (1, "start", "GET /, answered 500", "deploy again"),
    ),
    "a candidate that answers with the wrong release": (
        append("config/settings.py", '\nRELEASE = "0" * 40\n'),
        (1, "start", "says that it is release 000000000000", "deploy again"),
    ),
    "a worker that crashes": (
        append(
            "config/settings.py",
            '\nif ROLE == "worker":\n    raise RuntimeError("worker broke")\n',
        ),
        (1, "workers", "django-q crashed", "deploy again"),
    ),
    "a variable that .env does not have": (
        append(".env.example", "\nNEW_API_KEY=\n"),
        (5, "build", "NEW_API_KEY", ".env"),
    ),
    "timeouts that do not nest": (
        append(
            "config/settings.py",
            "\nimport dataclasses\nOPS = dataclasses.replace(OPS, web_graceful_seconds=1.0)\n",
        ),
        (5, "preflight", "system checks", "check --deploy"),
    ),
    "a compose file that cannot be read": (
        append("compose.prod.yml", "\n  nonsense: [\n"),
        (5, "preflight", "Compose cannot read", "docker compose config"),
    ),
}


# Of those that fail in the same step one is tried each time.
SIBLINGS = (
    "settings that do not import",
    WAITED_FOR,
    "a candidate that answers with the wrong release",
    "a compose file that cannot be read",
)


@pytest.mark.parametrize(
    "what",
    [pytest.param(w, marks=pytest.mark.more if w in SIBLINGS else ()) for w in BROKEN_RELEASES],
)
def test_a_broken_release_is_refused_and_leaves_no_trace(
    stack: ScratchStack, scene: Scene, what: str
) -> None:
    change, (code, step, found, next_command) = BROKEN_RELEASES[what]
    sha = stack.commit(what, change, branch="broken")

    options = ("-e", "OPS_START_SECONDS=15") if what == WAITED_FOR else ()
    result = stack.deploy("broken", options=options)

    assert result.code == code, result.output
    assert result.event("step_failed")["step"] == step
    assert_said(result, found, next_command)
    assert_untouched(scene)
    row = scene.history(result)
    assert (row["status"], row["release"], row["exit_code"]) == ("failed", sha, code)


def test_an_unknown_ref_is_refused(stack: ScratchStack, scene: Scene) -> None:
    result = stack.deploy("no-such-branch")

    assert result.code == 5
    assert_said(result, "'no-such-branch' is not a branch or tag", "git -C")
    assert_untouched(scene)
    row = scene.history(result)
    assert (row["status"], row["ref"], row["release"]) == ("failed", "no-such-branch", None)


def test_a_checkout_with_changes_of_its_own_is_refused(stack: ScratchStack, scene: Scene) -> None:
    readme = stack.site / "manage.py"
    text = readme.read_text()
    readme.write_text(f"{text}# edited on the server\n")
    try:
        result = stack.deploy()
    finally:
        readme.write_text(text)

    assert result.code == 5
    assert_said(result, "manage.py", "git -C")
    assert_untouched(scene)
    assert scene.history(result)["status"] == "failed"


def test_a_daemon_that_is_not_reachable_is_said(stack: ScratchStack, scene: Scene) -> None:
    result = stack.deploy(options=("-e", "DOCKER_HOST=tcp://127.0.0.1:9"))

    assert result.code == 1
    assert_said(result, "Docker does not answer", "docker")
    assert_untouched(scene)
    assert scene.history(result)["status"] == "failed"


def test_no_room_for_the_image_is_refused_before_anything_is_built(
    stack: ScratchStack, scene: Scene
) -> None:
    sha = stack.commit("Too big", lambda project: None, branch="big")

    result = stack.deploy("big", options=("-e", "OPS_MIN_FREE_MB=999999999"))

    assert result.code == 5
    assert_said(result, "no room", "docker system df")
    assert_untouched(scene)
    assert scene.history(result)["status"] == "failed"
    tags = run(["docker", "image", "ls", "--format", "{{.Tag}}", stack.project]).output.split()
    assert sha not in tags


def test_the_second_of_two_deployments_at_once_is_refused_and_says_who_is_first(
    stack: ScratchStack, scene: Scene
) -> None:
    stack.commit("Takes a while", lambda project: None)
    first = stack.start_manage("deploy", "--format", "json")
    assert first.stdout
    for line in first.stdout:
        if '"step_started"' in line:
            break

    second = stack.deploy()

    assert second.code == 4
    assert_said(second, "deploys main", "manage.py status")
    row = scene.history(second)
    assert (row["status"], row["exit_code"]) == ("failed", 4)
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 0, f"{output}{errors}"


def test_a_cancelled_deployment_is_undone(stack: ScratchStack, scene: Scene) -> None:
    stack.commit("Cancelled", lambda project: None, branch="cancelled")
    deployment = stack.start_manage("deploy", "cancelled", "--format", "json")
    assert deployment.stdout
    for line in deployment.stdout:
        if '"step_started"' in line and '"start"' in line:
            break

    run(
        [
            "docker",
            "kill",
            "--signal",
            signal.SIGTERM.name,
            *stack.containers("utility", one_off=True),
        ]
    )
    deployment.communicate(timeout=300)

    assert deployment.returncode == 130
    assert_untouched(scene)
    row = stack.status()["deployments"][0]
    assert (row["status"], row["exit_code"]) == ("interrupted", 130)
    assert stack.deploy().code == 0


def test_a_broken_release_is_told_in_plain_lines_without_a_terminal(
    stack: ScratchStack, scene: Scene
) -> None:
    result = stack.manage("deploy", "no-such-branch")

    assert result.code == 5
    *_, traffic, next_command = result.output.strip().splitlines()
    assert "Traffic was never moved" in traffic
    assert "Next: git -C" in next_command
    assert "Traceback" not in result.output + result.errors
    assert "\x1b" not in result.output


def test_nonsense_arguments_are_a_usage_error(stack: ScratchStack) -> None:
    for arguments in (("--no-such-option",), ("main", "extra"), ("--format", "xml")):
        result = stack.manage("deploy", *arguments)
        assert result.code == 2
        assert "usage:" in result.errors


def assert_said(result: Result, found: str, next_command: str) -> None:
    error = result.event("ended")["error"]
    assert found in error["found"]
    assert next_command in error["next"]
    assert "raffic" in error["traffic"]


def assert_untouched(scene: Scene) -> None:
    """The same container serves the same release, the edge points to the same colour, and the
    standby runs if it did."""
    now, before = scene.look(), scene.before
    live = before["live"]
    assert now["live"] == live
    assert now["front_door"]["release"] == before["front_door"]["release"]
    assert now["colors"][live]["started_at"] == before["colors"][live]["started_at"]
    runs = {color: state["status"] for color, state in now["colors"].items()}
    assert runs == {color: state["status"] for color, state in before["colors"].items()}
    assert now["services"]["django-q"]["release"] == before["services"]["django-q"]["release"]
    assert now["deploying"] is None
    assert now["problems"] == []
