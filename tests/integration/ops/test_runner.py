"""The runner, with steps that do as they are told and a real history."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connection

from apps.ops.colors import Color
from apps.ops.deploys import journal, operations, pipeline, recovery
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.lock import deploy_lock
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import OpsError, Refused, StepFailed, SwappedBack
from apps.ops.models import Deployment
from apps.ops.presenters.lines import Lines
from apps.ops.redact import HIDDEN, Redactor
from tests.integration.ops.conftest import begin
from tests.servers import HUNG_SECONDS

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory
    from tests.servers import PostgresServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Act = Callable[[Deploy], object]
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


class Fake(Step):
    """A step that does what the test says, and writes down that it did."""

    def __init__(
        self,
        name: str,
        done: list[str],
        *,
        run: Act = lambda deploy: None,
        undo: Act = lambda deploy: None,
        after_swap: bool = False,
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.after_swap = after_swap  # type: ignore[misc]
        self._done, self._run, self._undo = done, run, undo

    def run(self, deploy: Deploy) -> str:
        self._done.append(self.name)
        self._run(deploy)
        return f"{self.name} is done"

    def undo(self, deploy: Deploy) -> bool:
        self._done.append(f"undo {self.name}")
        self._undo(deploy)
        return True


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.outcomes: list[Outcome] = []
        self.summaries: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self.summaries.append(summary)

    def warned(self, warning: str) -> None:
        self.warnings.append(warning)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Stage:
    """A deployment of fake steps: `step` adds one, `go` runs them."""

    def __init__(self, deploy: Deploy) -> None:
        self.deploy = deploy
        self.done: list[str] = []
        self.heard = Heard()
        self._steps: list[Step] = []
        self._more: dict[str, Any] = {}

    def step(self, name: str, run: Act = lambda deploy: None, **options: Any) -> Stage:
        self._steps.append(Fake(name, self.done, run=run, **options))
        return self

    def swap(self) -> Stage:
        return self.step("swap", swap)

    def hiding(self, *values: str) -> Stage:
        self._more["redactor"] = Redactor(values)
        return self

    def go(self, presenter: Listener | None = None) -> Outcome:
        recorder = begin(self.deploy.settings.state_dir)
        run = Runner(self.deploy, self._steps, recorder, presenter or self.heard, **self._more)
        return run.run("main")

    @property
    def row(self) -> Deployment:
        return Deployment.objects.get()

    @property
    def recorded(self) -> list[tuple[str, str]]:
        return [(s.name, s.status) for s in self.row.steps.order_by("position")]


@pytest.fixture
def stage(deploy: Deploy) -> Stage:
    return Stage(deploy)


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def swap(deploy: Deploy) -> None:
    deploy.swapped_at = datetime.now(UTC)
    deploy.edge.point_to(Color.GREEN)


def fail(error: Exception) -> Act:
    def act(deploy: Deploy) -> None:
        raise error

    return act


def send(number: int) -> Act:
    def act(deploy: Deploy) -> None:
        os.kill(os.getpid(), number)

    return act


def test_steps_that_all_succeed_are_a_deployment_that_succeeded(stage: Stage) -> None:
    outcome = stage.step("start").swap().step("retire", after_swap=True).go()

    assert (outcome.status, outcome.exit_code, outcome.error) == ("succeeded", 0, None)
    assert stage.done == ["start", "swap", "retire"]
    assert stage.recorded == [
        ("start", "succeeded"),
        ("swap", "succeeded"),
        ("retire", "succeeded"),
    ]
    assert (stage.row.status, stage.row.exit_code) == ("succeeded", 0)
    assert stage.row.swapped_at == outcome.swapped_at is not None
    assert stage.heard.outcomes == [outcome]


def test_a_steps_row_is_committed_before_the_step_acts(stage: Stage) -> None:
    seen: list[tuple[str, str]] = []

    def look(deploy: Deploy) -> None:
        # As somebody else sees it, on a connection of their own.
        with psycopg.connect(**connection.get_connection_params()) as other:
            seen.extend(other.execute("SELECT name, status FROM ops_step").fetchall())

    stage.step("start", look).go()

    assert seen == [("start", "running")]


def test_a_failure_before_the_swap_is_undone_in_reverse_and_nothing_after_it_is_done(
    stage: Stage,
) -> None:
    error = StepFailed("It broke.", output="because")
    outcome = stage.step("static").step("migrate").step("start", fail(error)).swap().go()

    assert stage.done == [
        *("static", "migrate", "start"),
        *("undo start", "undo migrate", "undo static"),
    ]
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.error is error
    assert error.traffic == "Traffic was never moved: blue serves release aaaaaaaaaaaa as before."
    assert stage.recorded == [("static", "undone"), ("migrate", "undone"), ("start", "failed")]
    assert (stage.row.status, stage.row.error) == ("failed", "It broke.\n\nbecause")
    assert stage.deploy.edge.live() is Color.BLUE


def test_a_gate_that_says_no_is_exit_code_5(stage: Stage) -> None:
    assert stage.step("fetch", fail(Refused("No."))).go().exit_code == 5


def test_a_bug_in_a_step_ends_like_every_other_failure(stage: Stage) -> None:
    outcome = stage.step("static").step("start", fail(KeyError("x"))).go()

    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.error is not None
    assert outcome.error.found == "KeyError: 'x'"
    assert stage.done[-2:] == ["undo start", "undo static"]


def test_an_undo_that_fails_is_a_warning_and_the_rest_is_undone(stage: Stage) -> None:
    outcome = (
        stage.step("static")
        .step("migrate", undo=fail(RuntimeError("stuck")))
        .step("start", fail(StepFailed("It broke.")))
        .go()
    )

    assert stage.done[-3:] == ["undo start", "undo migrate", "undo static"]
    assert outcome.exit_code == 1
    assert list(outcome.warnings) == stage.heard.warnings
    assert outcome.warnings == [
        "What migrate did could not be undone (stuck) Next: manage.py recover"
    ]


@pytest.mark.parametrize(
    ("error", "warning"),
    [
        (StepFailed("It broke.", next="fix it"), "retire: It broke. Next: fix it"),
        (KeyError("x"), "retire: KeyError: 'x'"),
        pytest.param(
            StepFailed("It broke."),
            "retire: It broke.",
        ),
    ],
)
def test_a_failure_after_the_swap_is_a_warning_and_what_follows_is_done(
    stage: Stage, error: Exception, warning: str
) -> None:
    outcome = (
        stage.step("start")
        .swap()
        .step("retire", fail(error), after_swap=True)
        .step("prune", after_swap=True)
        .go()
    )

    assert stage.done == ["start", "swap", "retire", "prune"]
    assert (outcome.status, outcome.exit_code, outcome.error) == ("succeeded", 6, None)
    assert list(outcome.warnings) == [warning] == stage.heard.warnings == stage.row.warnings
    assert stage.recorded[2:] == [("retire", "failed"), ("prune", "succeeded")]
    assert stage.deploy.edge.live() is Color.GREEN


def test_a_warning_makes_a_good_deployment_exit_code_6(stage: Stage) -> None:
    outcome = stage.step("start", lambda deploy: deploy.warnings.append("careful")).go()

    assert (outcome.status, outcome.exit_code) == ("succeeded", 6)
    assert stage.heard.warnings == ["careful"]


def test_swapped_back_is_exit_code_3_and_what_was_done_is_undone(stage: Stage) -> None:
    outcome = stage.step("start").step("swap", fail(SwappedBack("It answered 502."))).go()

    assert (outcome.status, outcome.exit_code) == ("rolled back", 3)
    assert outcome.error is not None
    assert outcome.error.traffic == (
        "Traffic was moved back: blue serves release aaaaaaaaaaaa as before."
    )
    assert stage.done == ["start", "swap", "undo swap", "undo start"]
    assert stage.row.status == "rolled back"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_swap_cancels_and_undoes(stage: Stage, number: int) -> None:
    outcome = stage.step("static").step("start", send(number)).swap().go()

    assert stage.done == ["static", "start", "undo start", "undo static"]
    assert (outcome.status, outcome.exit_code) == ("interrupted", 130)
    assert outcome.error is not None
    assert outcome.error.found == f"Cancelled ({signal.Signals(number).name})."
    assert outcome.error.traffic.startswith("Traffic was never moved")
    assert stage.row.status == "interrupted"
    assert stage.deploy.edge.live() is Color.BLUE


def test_a_signal_waits_for_what_must_not_be_cut_in_the_middle(stage: Stage) -> None:
    def recreate(deploy: Deploy) -> None:
        with deploy.whole():
            send(signal.SIGTERM)(deploy)
            stage.done.append("recreated")
        stage.done.append("never reached")

    outcome = stage.step("start", recreate).swap().go()

    assert stage.done == ["start", "recreated", "undo start"]
    assert (outcome.status, outcome.exit_code) == ("interrupted", 130)


def test_what_undoes_a_cancelled_step_is_whole_and_not_cancelled_again(stage: Stage) -> None:
    def recreate(deploy: Deploy) -> None:
        with deploy.whole():
            send(signal.SIGTERM)(deploy)

    def put_back(deploy: Deploy) -> None:
        with deploy.whole():
            stage.done.append("put back")

    outcome = stage.step("start", recreate, undo=put_back).swap().go()

    assert stage.done == ["start", "undo start", "put back"]
    assert (outcome.exit_code, outcome.warnings) == (130, [])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_after_the_swap_changes_nothing(stage: Stage, number: int) -> None:
    outcome = (
        stage.step("start")
        .swap()
        .step("retire", send(number), after_swap=True)
        .step("prune", send(number), after_swap=True)
        .go()
    )

    assert stage.done == ["start", "swap", "retire", "prune"]
    assert (outcome.status, outcome.exit_code) == ("succeeded", 0)
    assert stage.heard.lines == ["It is too late to cancel: finishing what was begun."] * 2


def test_a_signal_between_the_swap_and_its_end_changes_nothing(stage: Stage) -> None:
    def swap_and_be_told_to_stop(deploy: Deploy) -> None:
        swap(deploy)
        os.kill(os.getpid(), signal.SIGTERM)

    outcome = stage.step("swap", swap_and_be_told_to_stop).step("retire", after_swap=True).go()

    assert outcome.exit_code == 0
    assert stage.done == ["swap", "retire"]


@pytest.fixture
def stopped_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """As a container finds it that an engine stops because it ends itself: nobody answers."""
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield engine


def away(deploy: Deploy) -> None:
    deploy.engine.version()


@pytest.mark.usefixtures("stopped_engine")
@pytest.mark.parametrize(
    ("stage_of", "done", "code", "traffic"),
    [
        # The signal, in a step.
        (
            lambda stage: stage.step("start", send(signal.SIGTERM)).swap(),
            ["start"],
            1,
            "Traffic was never moved",
        ),
        # What a step needed was gone before the signal came.
        (
            lambda stage: stage.step("start", away, undo=send(signal.SIGTERM)).swap(),
            ["start", "undo start"],
            1,
            "Traffic was never moved",
        ),
        (
            lambda stage: (
                stage.step("start")
                .swap()
                .step("retire", send(signal.SIGTERM), after_swap=True)
                .step("prune", after_swap=True)
            ),
            ["start", "swap", "retire"],
            6,
            "Traffic moved to green",
        ),
    ],
)
def test_an_engine_that_stops_is_not_waited_for_and_what_was_begun_is_left_for_recovery(
    stage: Stage, stage_of: Callable[[Stage], Stage], done: list[str], code: int, traffic: str
) -> None:
    outcome = stage_of(stage).go()

    assert (stage.done, outcome.exit_code) == (done, code)
    assert outcome.error is not None
    assert outcome.error.found.startswith("Docker is being stopped")
    assert outcome.error.traffic.startswith(traffic)
    [left] = recovery.left_behind(stage.deploy.settings)
    assert left.warnings == ["Docker was stopped meanwhile."]
    assert stage.row.status == "running"


def test_an_engine_whose_socket_systemd_keeps_stops_as_well(
    stage: Stage, stopped_engine: socket.socket
) -> None:
    stopped_engine.listen()

    stage.step("start", send(signal.SIGTERM)).swap().go()

    assert stage.done == ["start"]


@pytest.mark.usefixtures("stopped_engine")
def test_ctrl_c_undoes_whatever_the_engine_does(stage: Stage) -> None:
    outcome = stage.step("start", send(signal.SIGINT)).swap().go()

    assert stage.done == ["start", "undo start"]
    assert outcome.exit_code == 130


def test_impatience_does_not_interrupt_the_undoing(stage: Stage) -> None:
    outcome = (
        stage.step("static", undo=send(signal.SIGINT))
        .step("start", send(signal.SIGINT), undo=send(signal.SIGINT))
        .go()
    )

    assert stage.done == ["static", "start", "undo start", "undo static"]
    assert outcome.exit_code == 130
    assert outcome.warnings == []


def test_secrets_are_hidden_from_eyes_and_from_the_history(stage: Stage) -> None:
    def leak(deploy: Deploy) -> None:
        deploy.say("PASSWORD=tr0ub4dor")
        deploy.warnings.append("tr0ub4dor is weak")

    error = StepFailed("tr0ub4dor was refused.", output="pw: tr0ub4dor")
    outcome = stage.hiding("tr0ub4dor").step("static", leak).step("start", fail(error)).go()

    assert stage.heard.lines == [f"PASSWORD={HIDDEN}"]
    assert stage.heard.warnings == [f"{HIDDEN} is weak"]
    assert (error.found, error.output) == (f"{HIDDEN} was refused.", f"pw: {HIDDEN}")
    stored = [stage.row.error, *stage.row.warnings, *outcome.warnings]
    stored += [step.output + step.summary for step in stage.row.steps.all()]
    assert stored
    assert "tr0ub4dor" not in "".join(stored)


def test_secrets_are_hidden_from_what_to_type_next_too(stage: Stage) -> None:
    error = StepFailed("It broke.", next="git fetch https://ada:tr0ub4dor@example.org/x.git")
    outcome = stage.step("fetch", fail(error)).go()

    assert outcome.error is not None
    assert outcome.error.next == f"git fetch https://{HIDDEN}@example.org/x.git"


class Broken(Listener):
    """A presenter whose terminal or pipe is gone."""

    def step_started(self, name: str, position: int) -> None:
        raise BrokenPipeError

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        raise BrokenPipeError

    def ended(self, outcome: Outcome) -> None:
        raise BrokenPipeError


def test_a_presenter_that_cannot_write_does_not_take_the_deployment_with_it(stage: Stage) -> None:
    outcome = stage.step("start").swap().step("retire", after_swap=True).go(Broken())

    assert stage.done == ["start", "swap", "retire"]
    assert outcome.exit_code in (0, 6)
    assert stage.row.status == "succeeded"


# --- Postgres goes away ---------------------------------------------------------------------------


def test_a_restart_of_postgres_in_the_middle_does_not_stop_a_deployment(
    stage: Stage, database: PostgresServer
) -> None:

    def restart(deploy: Deploy) -> None:
        database.stop()
        database.start()

    outcome = stage.step("start").step("static", restart).swap().go()

    assert (outcome.exit_code, stage.row.status) == (0, "succeeded")
    assert stage.recorded == [
        ("start", "succeeded"),
        ("static", "succeeded"),
        ("swap", "succeeded"),
    ]


def test_what_happens_while_postgres_is_away_is_in_the_history_when_it_is_back(
    stage: Stage, database: PostgresServer
) -> None:
    outcome = (
        stage.step("start", lambda deploy: database.stop())
        .step("static", lambda deploy: deploy.say("copying"))
        .swap()
        .step("retire", lambda deploy: database.start(), after_swap=True)
        .go()
    )

    assert (outcome.status, outcome.exit_code, outcome.warnings) == ("succeeded", 0, [])
    assert stage.row.status == "succeeded"
    assert stage.row.swapped_at == outcome.swapped_at is not None
    assert [(s.name, s.status, s.summary, s.output) for s in stage.row.steps.all()] == [
        ("start", "succeeded", "start is done", ""),
        ("static", "succeeded", "static is done", "copying"),
        ("swap", "succeeded", "swap is done", ""),
        ("retire", "succeeded", "retire is done", ""),
    ]


def test_a_last_word_that_postgres_did_not_hear_is_a_warning_and_is_brought_in_later(
    stage: Stage, database: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.deploys.recorder.LAST_WORD_SECONDS", 1.0)
    settings = stage.deploy.settings

    outcome = stage.swap().step("retire", lambda deploy: database.stop(), after_swap=True).go()

    assert (outcome.status, outcome.exit_code) == ("succeeded", 6)
    assert list(outcome.warnings) == stage.heard.warnings
    assert outcome.warnings[0].startswith("Postgres was away: the journal has this deployment")
    assert recovery.bring_history_up_to_date(settings) == 0

    database.start()
    connection.close()
    assert stage.row.status == "running"
    assert recovery.bring_history_up_to_date(settings) == 1
    assert stage.row.status == "succeeded"
    assert stage.recorded == [("swap", "succeeded"), ("retire", "succeeded")]


def test_a_postgres_that_hangs_holds_a_deployment_up_once_and_the_history_is_whole_at_its_end(
    stage: Stage, database: PostgresServer
) -> None:
    begun = monotonic()
    stage.step("start", lambda deploy: database.freeze())
    for number in range(20):
        stage.step(f"step{number}")
    stage.swap().step("retire", lambda deploy: database.thaw(), after_swap=True)

    outcome = stage.go()

    # WRITE_SECONDS for each of the steps would be minutes.
    assert monotonic() - begun < HUNG_SECONDS
    assert (outcome.status, outcome.exit_code) == ("succeeded", 0)
    assert stage.row.status == "succeeded"
    assert stage.recorded == [
        ("start", "succeeded"),
        *((f"step{number}", "succeeded") for number in range(20)),
        ("swap", "succeeded"),
        ("retire", "succeeded"),
    ]


# --- A full disk ----------------------------------------------------------------------------------


@contextmanager
def disk() -> Iterator[Act]:
    """A disk that takes nothing more from this process once what is yielded is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda deploy: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_before_the_swap_fails_the_deployment_which_is_undone(
    stage: Stage,
) -> None:
    def act(deploy: Deploy) -> None:
        deploy.intend("start", color="green")
        stage.done.append("never reached")

    with disk() as fill:
        outcome = stage.step("static", fill).step("start", act).swap().go()

    assert stage.done == ["static", "start", "undo start", "undo static"]
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.error is not None
    assert outcome.error.found.startswith("What is to be done cannot be written down first: ")
    assert outcome.error.next.startswith("df -h")
    assert stage.deploy.intended("start") is None
    assert stage.row.status == "failed"
    assert stage.recorded == [("static", "undone"), ("start", "failed")]


def test_a_disk_that_is_full_after_the_swap_does_not_stop_a_deployment(stage: Stage) -> None:
    with disk() as fill:
        outcome = (
            stage.swap()
            .step("bake", fill, after_swap=True)
            .step("retire", lambda deploy: deploy.intend("retire", x=1), after_swap=True)
            .step("prune", after_swap=True)
            .go()
        )

    assert stage.done == ["swap", "bake", "retire", "prune"]
    assert (outcome.status, outcome.exit_code) == ("succeeded", 6)
    assert [w.partition(":")[0] for w in outcome.warnings] == ["retire"]
    assert stage.row.status == "succeeded"
    assert stage.recorded[2:] == [("retire", "failed"), ("prune", "succeeded")]


# --- The way in -----------------------------------------------------------------------------------


def test_a_second_deployment_is_refused_recorded_and_named(
    ops_settings: OpsSettingsFactory,
) -> None:
    settings, heard = ops_settings(), Heard()
    Deployment.objects.create(status="running", ref="v1", started_at=datetime.now(UTC))
    with deploy_lock(settings.state_dir, holder="grace deploys v1"):
        outcome = operations.deploy("main", settings=settings, presenter=heard)

    assert (outcome.status, outcome.exit_code) == ("failed", 4)
    assert outcome.error is not None
    assert outcome.error.found.startswith("Another deployment is running: grace deploys v1, since")
    assert outcome.error.traffic == "Nothing was done; traffic is as it was."
    row = Deployment.objects.get(ref="main")
    assert (row.pk, row.status, row.exit_code) == (outcome.deployment, "failed", 4)
    assert (row.requested_by, row.requested_from, row.ref) == ("ada", "192.0.2.7", "main")
    assert heard.outcomes == [outcome]


def test_a_server_without_a_checkout_is_told_what_to_type(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    settings = ops_settings()
    settings.checkout.mkdir()

    outcome = operations.deploy(None, settings=settings, presenter=Lines(sys.stdout))

    assert outcome.exit_code == 1
    assert outcome.error is not None
    assert outcome.error.found == f"{settings.checkout} is not a git checkout."
    assert Deployment.objects.get().ref == settings.branch


def test_the_next_deployment_closes_what_runs_no_more_and_has_no_journal(
    ops_settings: OpsSettingsFactory,
) -> None:
    left = Deployment.objects.create(status="running", ref="v1", started_at=datetime.now(UTC))
    settings = ops_settings()
    settings.checkout.mkdir()

    operations.deploy(None, settings=settings, presenter=Heard())

    left.refresh_from_db()
    assert left.status == "interrupted"


# --- A real process, really killed ----------------------------------------------------------------

PROCESS = """
import sys, django
django.setup()
from datetime import UTC, datetime
from pathlib import Path
from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.journal import new_uid
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.story import Story
from apps.ops.edge.files import Edge
from apps.ops.presenters.lines import Lines
from apps.ops.source import Checkout, Commit
from apps.ops.stack.engine import Engine

root, when = Path(sys.argv[1]), sys.argv[2]

def wait():
    print("WAITING", flush=True)
    sys.stdin.readline()

class Fetch(Step):
    name = "fetch"
    def run(self, deploy):
        commit = Commit("b" * 40, "Ada", datetime(2026, 11, 23, tzinfo=UTC), "Say hello")
        deploy.plan = Plan(commit, Color.BLUE, "a" * 40, commits=[commit], commits_total=1)
        return ""

class Start(Step):
    name = "start"
    def run(self, deploy):
        deploy.intend("start", made="a container")
        if when == "before":
            wait()
        return ""
    def undo(self, deploy):
        (root / "undone").touch()
        return True

class Swap(Step):
    name = "swap"
    def run(self, deploy):
        deploy.intend("swap", to="green")
        deploy.swapped_at = datetime.now(UTC)
        deploy.edge.point_to(Color.GREEN)
        if when == "swapping":
            wait()
        return ""

class Retire(Step):
    name = "retire"
    after_swap = True
    def run(self, deploy):
        if when == "after":
            wait()
        (root / "retired").touch()
        return ""

settings = OpsSettings(checkout=root, edge_dir=root / "edge", state_dir=root / "state")
deploy = Deploy(settings=settings, ref=None, engine=Engine("test"), edge=Edge(root / "edge"),
                checkout=Checkout(root, remote="origin", branch="main"), say=print, scratch=root)
recorder = Recorder(settings.state_dir, Story(new_uid()))
recorder.begin(kind="deploy", ref="main", requested_by="ada", requested_from="", options={})
runner = Runner(deploy, [Fetch(), Start(), Swap(), Retire()], recorder, Lines(sys.stdout))
sys.exit(runner.run("main").exit_code)
"""


def deploy_in_a_process(root: Path, when: str, number: int) -> int:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "POSTGRES_DB": connection.settings_dict["NAME"],
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(root), when],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line == "WAITING\n":
                break
        process.send_signal(number)
        if number != signal.SIGKILL:
            process.stdin.write("\n")
            process.stdin.flush()
        return process.wait(timeout=30)


def test_sigterm_before_the_swap_leaves_traffic_and_undoes(tmp_path: Path) -> None:
    assert deploy_in_a_process(tmp_path, "before", signal.SIGTERM) == 130

    assert (tmp_path / "undone").exists()
    assert not (tmp_path / "edge" / "live" / "green").exists()
    assert Deployment.objects.get().status == "interrupted"


def test_sigterm_after_the_swap_is_finished(tmp_path: Path) -> None:
    assert deploy_in_a_process(tmp_path, "after", signal.SIGTERM) == 0

    assert (tmp_path / "retired").exists()
    assert (tmp_path / "edge" / "live" / "green").exists()
    assert Deployment.objects.get().status == "succeeded"


@pytest.fixture
def recovering(
    ops_settings: OpsSettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[str], list[Outcome]]]:
    """Recover what was left, on a project that has no containers: what was done, how it ended."""
    settings = ops_settings(project=f"nothing-of-it-{secrets.token_hex(6)}")

    def recover(undo_start: Act = lambda deploy: None, **options: Any) -> Any:
        done: list[str] = []
        steps = (
            Fake("fetch", done),
            Fake("start", done, undo=undo_start),
            Fake("swap", done),
            Fake("retire", done, after_swap=True),
        )
        monkeypatch.setattr(pipeline, "steps_of", lambda kind, maintenance: steps)
        recovered = recovery.recover(settings, by="the next deploy", presenter=Listener, **options)
        return done, [outcome for _, outcome in recovered]

    return recover


Recovering = Callable[..., tuple[list[str], list[Outcome]]]


def killed(root: Path, when: str) -> None:
    assert deploy_in_a_process(root, when, signal.SIGKILL) == -signal.SIGKILL
    row = Deployment.objects.get()
    assert row.status == "running"
    assert row.steps.order_by("position").last().status == "running"  # type: ignore[union-attr]


def test_what_was_killed_before_the_swap_is_undone(tmp_path: Path, recovering: Recovering) -> None:
    killed(tmp_path, "before")
    intended: list[Any] = []

    done, [outcome] = recovering(lambda deploy: intended.append(deploy.intended("start")))

    assert done == ["undo start", "undo fetch"]
    assert intended == [{"made": "a container"}]
    assert (outcome.status, outcome.exit_code, outcome.warnings) == ("interrupted", 1, [])
    row = Deployment.objects.get()
    assert (row.status, row.exit_code, row.pk) == ("interrupted", 1, outcome.deployment)
    assert row.error == "Its process ended without a word in start; the next deploy undid it."
    assert row.traffic.startswith("Traffic was never moved: blue serves")
    assert [(s.name, s.status) for s in row.steps.order_by("position")] == [
        ("fetch", "undone"),
        ("start", "failed"),
    ]
    assert recovering() == ([], [])


@pytest.mark.parametrize("when", ["swapping", "after"])
def test_what_was_killed_after_the_swap_is_finished(
    tmp_path: Path, recovering: Recovering, when: str
) -> None:
    killed(tmp_path, when)

    done, [outcome] = recovering()

    assert done == ["retire"]
    assert (outcome.status, outcome.exit_code) == ("succeeded", 6)
    row = Deployment.objects.get()
    assert (row.status, row.exit_code) == ("succeeded", 6)
    assert row.swapped_at == outcome.swapped_at is not None
    where = "swap" if when == "swapping" else "retire"
    assert row.warnings == [
        f"Its process ended without a word in {where}; the next deploy finished it."
    ]
    assert row.steps.get(name="retire").status == "succeeded"
    assert (tmp_path / "edge" / "live" / "green").exists()
    assert recovering() == ([], [])


def test_a_rollback_only_closes_what_was_killed_after_the_swap(
    tmp_path: Path, recovering: Recovering
) -> None:
    killed(tmp_path, "after")

    done, [outcome] = recovering(finish=False)

    assert (done, outcome.status) == ([], "interrupted")
    assert Deployment.objects.get().traffic == "green served its release."
    assert recovering() == ([], [])


def test_what_cannot_be_undone_is_tried_again_until_it_is(
    tmp_path: Path, recovering: Recovering
) -> None:
    killed(tmp_path, "before")

    with pytest.raises(StepFailed, match=r"could not all be taken back: .*stuck") as caught:
        recovering(fail(RuntimeError("stuck")))
    assert caught.value.next.startswith("manage.py recover")
    with pytest.raises(StepFailed, match="stuck"):
        recovering(fail(RuntimeError("stuck")))
    done, _ = recovering()

    # What is before it again, too: it may depend on what could not be taken back then.
    assert done == ["undo start", "undo fetch"]
    assert recovering() == ([], [])
    assert Deployment.objects.get().status == "interrupted"


def test_what_was_warned_of_before_the_kill_is_not_told_again(
    tmp_path: Path, stage: Stage, recovering: Recovering
) -> None:
    recorder = begin(stage.deploy.settings.state_dir)
    recorder.step_started("fetch", 1)
    recorder.warned("careful")

    _, [outcome] = recovering()

    assert outcome.warnings == ["careful"]
    [story] = journal.stories(stage.deploy.settings.state_dir)
    assert story.warnings == ["careful"] == Deployment.objects.get().warnings


def test_what_a_full_disk_kept_from_being_ended_keeps_its_end(
    stage: Stage, recovering: Recovering
) -> None:
    with disk() as fill:
        stage.step("start", fill).step("swap", fail(StepFailed("It broke."))).go()
    assert stage.row.status == "failed"

    done, [_] = recovering()

    assert done == ["undo start"]
    assert stage.row.status == "failed"
    assert stage.row.error == "It broke."
    assert recovering() == ([], [])


def test_the_error_says_its_traffic_only_when_nobody_knew_better(stage: Stage) -> None:
    error: OpsError = StepFailed("It broke.", traffic="Nobody is served.")
    stage.step("start", fail(error)).go()

    assert error.traffic == "Nobody is served."
