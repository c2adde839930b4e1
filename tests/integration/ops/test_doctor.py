"""`doctor`, with real containers, a real lock, and servers that hang or are gone."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connection
from docker.errors import NotFound
from docker.models.containers import Container

import docker
from apps.ops import freezes
from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deploys.lock import deploy_lock
from apps.ops.doctor import Diagnosis, examine
from apps.ops.edge.files import Edge
from apps.ops.health.result import Result, Status
from apps.ops.models import Deployment
from tests.integration.ops.conftest import begin
from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim-trixie"
HUNG = 30.0  # It promises 5 s.
READY = (
    "mkdir -p /site/health && echo > /site/health/ready && cd /site && "
    "exec python -m http.server 8000"
)

Start = Callable[..., Container]


@pytest.fixture
def ops(settings: Any, ops_settings: OpsSettingsFactory) -> OpsSettings:
    made = ops_settings(project=f"h-doctor-{secrets.token_hex(4)}", probe_address="127.0.0.1:1")
    settings.OPS = made
    for directory in (made.state_dir, made.edge_dir):
        directory.mkdir()
    return made


@pytest.fixture
def start(ops: OpsSettings) -> Iterator[Start]:
    """Runs a shell line as a service of the project, until the test has ended."""
    client, started = docker.from_env(), list[Container]()

    def run(service: str, script: str, *, wait: bool = False) -> Container:
        compose = {"project": ops.project, "service": service, "oneoff": "False"}
        container = client.containers.run(
            IMAGE,
            entrypoint=["sh", "-c", script],
            detach=True,
            labels={f"com.docker.compose.{name}": value for name, value in compose.items()},
        )
        started.append(container)
        if wait:
            container.wait(timeout=30)
        return container

    yield run
    for container in started:
        with suppress(NotFound):
            container.remove(force=True)
    client.close()


def result(diagnosis: Diagnosis, name: str) -> Result:
    return next(f.result for f in diagnosis.findings if f.name == name)


@pytest.fixture
def page(ops: OpsSettings, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def show(**options: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            call_command("doctor", **options)
        assert ended.value.code == 1
        return capsys.readouterr().out

    return show


def run_doctor(ops: OpsSettings, *prefix: str, **more: str) -> subprocess.CompletedProcess[str]:
    """As it is typed, with nothing of the stack to be reached but what the environment says."""
    places = {
        "COMPOSE_PROJECT_NAME": ops.project,
        "OPS_STATE_DIR": str(ops.state_dir),
        "OPS_EDGE_DIR": str(ops.edge_dir),
        "OPS_PROBE_ADDRESS": ops.probe_address,
    }
    return subprocess.run(
        [*prefix, sys.executable, str(ROOT / "manage.py"), "doctor"],
        env={**os.environ, **places, **more},
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )


def test_a_live_colour_that_fell_over_is_found_and_its_log_says_why(
    ops: OpsSettings, start: Start
) -> None:
    Edge(ops.edge_dir).point_to(Color.GREEN)
    start("django-b", "echo 'No module named site' >&2; exit 3", wait=True)
    diagnosis = examine(ops)
    live = result(diagnosis, "live")

    assert live.status is Status.BAD
    assert live.summary == "green (django-b) is live and does not run (exited)."
    assert live.next == "docker compose up -d --no-deps --no-recreate --no-build django-b"
    assert diagnosis.logs["django-b"] == ["No module named site"]
    assert diagnosis.exit_code == 1


def test_a_live_colour_that_answers_is_well(ops: OpsSettings, start: Start) -> None:
    start("django-a", READY)
    wait_until(lambda: result(examine(ops), "live").status is Status.GOOD)

    assert result(examine(ops), "live").summary == "blue (django-a) is live and answers 200 OK."


def test_a_live_colour_that_runs_and_does_not_answer_is_found(
    ops: OpsSettings, start: Start
) -> None:
    start("django-a", "sleep 60")
    live = result(examine(ops), "live")

    assert live.status is Status.BAD
    assert live.summary.startswith("blue (django-a) is live and answers no answer")
    assert "manage.py rollback" in live.next


def test_without_docker_it_says_so_once_and_tells_the_rest(ops: OpsSettings) -> None:
    Edge(ops.edge_dir).maintenance_on(by="ann", reason="moving house")
    done = run_doctor(ops, DOCKER_HOST="unix:///nowhere.sock")

    assert done.returncode == 1
    assert "!! docker: Docker does not answer" in done.stdout
    assert "→ sudo systemctl start docker" in done.stdout
    assert "?? service-postgres, service-redis, service-caddy" in done.stdout
    assert "blue (django-a) is live by the edge" in done.stdout
    assert "put up by ann (moving house)" in done.stdout
    assert "No deployment runs" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_docker_that_hangs_does_not_hang_it(ops: OpsSettings, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "hung.sock"))
        hung.listen(100)
        done = run_doctor(ops, DOCKER_HOST=f"unix://{tmp_path}/hung.sock")

    assert done.returncode == 1
    assert "!! docker: " in done.stdout


def test_a_user_who_may_not_ask_docker_is_told_how_to(ops: OpsSettings) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = run_doctor(ops, *nobody)

    assert done.returncode == 1
    assert "!! docker: Docker's socket does not let this user in." in done.stdout
    assert "→ sudo usermod --append --groups docker" in done.stdout
    assert "systemctl start docker" not in done.stdout


def test_a_postgres_that_hangs_hides_nothing_else(
    ops: OpsSettings, database: PostgresServer
) -> None:
    begin(ops.state_dir, requested_by="grace").story.ended = None
    connection.close()
    database.freeze()
    try:
        begun = monotonic()
        diagnosis = examine(ops)
        seconds = monotonic() - begun
    finally:
        database.thaw()

    assert seconds < HUNG
    assert result(diagnosis, "postgres").status is Status.BAD
    assert result(diagnosis, "freeze").status is Status.UNKNOWN
    assert result(diagnosis, "deployment").status is Status.BAD
    assert result(diagnosis, "live").status is Status.BAD


def test_without_the_volumes_it_does_not_guess(ops: OpsSettings, tmp_path: Path) -> None:
    diagnosis = examine(replace(ops, edge_dir=tmp_path / "no", state_dir=tmp_path / "none"))

    for name in ("live", "deployment", "maintenance"):
        assert result(diagnosis, name).status is Status.UNKNOWN
        assert result(diagnosis, name).next.startswith("docker compose run --rm utility")


# --- Is a deployment stuck? -----------------------------------------------------------------------


@pytest.fixture
def held(ops: OpsSettings, start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """A deployment that began to build, and holds the lock from a container."""
    container = start("utility", "sleep 60")
    monkeypatch.setattr(socket, "gethostname", lambda: str(container.id)[:12])
    recorder = begin(ops.state_dir)
    recorder.step_started("build", 1)
    with deploy_lock(ops.state_dir, holder="grace deploys main", uid=recorder.story.uid):
        yield container


def test_a_deployment_that_runs_is_no_trouble(ops: OpsSettings, held: Container) -> None:
    found = result(examine(ops), "deployment")

    assert found.status is Status.GOOD
    assert "A deployment holds the lock: grace deploys main, since 20" in found.summary
    assert found.summary.endswith("in build. Its container: running.")


def test_a_deployment_whose_container_is_paused_is_found(ops: OpsSettings, held: Container) -> None:
    held.pause()
    found = result(examine(ops), "deployment")
    held.unpause()

    assert found.status is Status.BAD
    assert found.next == f"docker unpause {str(held.id)[:12]}"


def test_a_deployment_that_outlives_all_its_deadlines_is_stuck(
    ops: OpsSettings, held: Container
) -> None:
    nothing = {name: 0 for name in ops.__slots__ if name.endswith("_seconds")}
    hasty = replace(ops, **{**nothing, "lock_attempts": 0, "health_seconds": 2.5})
    found = result(examine(hasty), "deployment")

    assert found.status is Status.BAD
    assert "it is stuck" in found.summary
    assert "manage.py cancel" in found.next


def test_the_page_that_a_running_deployment_needs_is_no_trouble(
    ops: OpsSettings, held: Container
) -> None:
    uid = next(ops.state_dir.glob("journal/*.jsonl")).stem
    edge = Edge(ops.edge_dir)
    edge.maintenance_on(by="grace", reason="", deployment=uid)
    assert result(examine(ops), "maintenance").status is Status.GOOD

    edge.maintenance_on(by="ann", reason="")
    found = result(examine(ops), "maintenance")
    assert (found.status, found.next) == (Status.BAD, "manage.py maintenance off")


def test_what_a_killed_deployment_left_is_told(ops: OpsSettings) -> None:
    begin(ops.state_dir).step_started("build", 1)
    found = result(examine(ops), "deployment")

    assert found.status is Status.BAD
    assert "ended without a word in build" in found.summary
    assert found.next == "manage.py recover"


@pytest.mark.django_db(transaction=True)
def test_a_row_that_says_running_and_a_freeze_are_told(ops: OpsSettings) -> None:
    row = Deployment.objects.create(status=Deployment.Status.RUNNING)
    freezes.freeze("Christmas market", by="ann", state_dir=ops.state_dir)
    diagnosis = examine(ops)

    assert result(diagnosis, "history").summary == (
        f"Deployment #{row.pk} says that it runs, and nobody runs it."
    )
    assert "frozen by ann" in result(diagnosis, "freeze").summary
    assert "Christmas market" in result(diagnosis, "freeze").summary


# --- The page -------------------------------------------------------------------------------------


def test_logs_on_the_page_hide_secrets_and_cannot_move_the_cursor(
    start: Start, page: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "correct-horse-battery")
    start(
        "django-a", r"printf '\033[2Jcorrect-horse-battery [bold]x[/nothing]\n'; exit 1", wait=True
    )
    shown = page()

    assert "  | \\x1b[2J••• [bold]x[/nothing]\n" in shown
    assert "correct-horse-battery" not in page(format="json")


def test_json_has_every_finding_and_the_exit_code(page: Callable[..., str]) -> None:
    told = json.loads(page(format="json"))

    assert told["exit_code"] == 1
    assert {"docker", "live", "deployment", "disk"} <= {f["name"] for f in told["findings"]}
    assert {f["status"] for f in told["findings"]} <= {"good", "bad", "unknown"}


def test_the_page_asks_the_questions_in_the_order_of_a_bad_night(page: Callable[..., str]) -> None:
    lines = page().splitlines()
    questions = [line for line in lines if line.endswith("?") and not line.startswith(" ")]

    assert questions == [
        "Is Docker running?",
        "Is supervisor, and do its programs run?",
        "Are all services running?",
        "Who is live, and does it answer?",
        "Is a deployment stuck?",
        "Is the disk full?",
        "And the rest?",
    ]
