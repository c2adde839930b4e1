"""`just chaos`: kill deployments at any moment, under traffic, and check that nothing is lost."""

from __future__ import annotations

import json
import random
import re
import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import Any

from docker.errors import APIError

import docker
from apps.ops.edge.probe import ask
from apps.ops.stack.engine import READING_LABEL
from tests.rig.load import Traffic, visitors
from tests.rig.report import Ledger
from tests.rig.stack import Result, ScratchStack, project_of

ASKS = 10
COMMAND_SECONDS = 900.0  # A deadline that means "hung".
ROWS = 200
REPLACED_SERVICES = ("django-a", "django-b", "django-q")
# What Compose calls the old container for as long as it recreates a service.
TEMPORARY_NAME = re.compile(r"[0-9a-f]{12}_")

MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("home", "{leaf}")]
    operations = [migrations.AddField("message", "{field}", models.IntegerField(null=True))]
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """`seconds` after a step "started" or "succeeded"."""

    step: str
    when: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.when} +{self.seconds:.1f} s" if self.seconds else self.when


@dataclass(frozen=True, slots=True)
class Row:
    """What one kill did. `moved`: the new release had the traffic when the deployer was dead;
    `left` is what it left behind, `lost` are sentences: none means that nothing was."""

    moment: Moment
    traffic: Traffic
    color: str
    moved: bool
    left: Sequence[str]
    lost: Sequence[str]
    recovery_killed: bool
    seconds: float


def kill_at(
    stack: ScratchStack,
    step: str,
    when: str,
    *,
    seconds: float = 0.0,
    rate: float = 100.0,
    build: bool = True,
    migration: bool = False,
    kill_recovery: float | None = None,
    again: bool = True,
) -> Row:
    """Deploy a new commit, SIGKILL the deployer's container at a moment, recover, and deploy again.

    Args:
        when: "started" or "succeeded": the step's event; the kill comes `seconds` after it.
        rate: visitors' requests a second.
        build: the commit changes files, so that there is something to build.
        migration: the commit brings an additive one.
        kill_recovery: the recovery is killed, too, so many seconds after its first line, and begun
            again. None: it is left alone.
        again: whether it is deployed again; what waits then is deployed with the next one.
    """
    moment, begun = Moment(step, when, seconds), monotonic()
    old = stack.status(limit=ROWS)["front_door"]["release"]
    new = stack.commit(
        f"To be killed: {step} {moment}", partial(_change, build=build, migration=migration)
    )
    lost: list[str] = []
    with visitors(stack.port, rate=rate, slow_rate=1.0) as traffic:
        arrived = _kill_deployment(stack, moment)
        if not arrived:
            lost.append(f"the deployment ended before {step} {when}")
        status = stack.status(limit=ROWS)
        live = status["live"]
        lost += _wrong_at_front_door(stack, live)
        if status["deploying"] is not None:
            lost.append(f"the lock is held: {status['deploying']}")
        left = _left_behind(stack, status)
        moved = status["front_door"].get("release") == new

        if kill_recovery is not None:
            _kill_recovery(stack, kill_recovery)
        recovery = stack.manage("recover")
        if recovery.code:
            lost.append(f"recover: exit code {recovery.code}: {_last_line(recovery)}")
        status = stack.status(limit=ROWS)
        if status["live"] != live:
            lost.append(f"recover moved the traffic from {live} to {status['live']}")
        lost += _wrong_at_front_door(stack, live)
        lost += _wrong_after_recovery(stack, status, release=new if moved else old)

        if again and (next_one := stack.deploy()).code:
            lost.append(f"the next deployment: exit code {next_one.code}: {_last_line(next_one)}")
    lost += [f"failed request: {request.error}" for request in traffic.failed]
    return Row(
        moment, traffic, live, moved, left, lost, kill_recovery is not None, monotonic() - begun
    )


def chaos(source: Path, root: Path, port: int, *, kills: int, rate: float, seed: int | None) -> int:
    """Kill deployments at random moments. Exit code 0: nothing was lost."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    print(f"{kills} kills at {rate:g} requests a second; the same again: --seed {seed}", flush=True)
    stack = ScratchStack(
        root,
        project=project_of("changeover-chaos", root),
        port=port,
        settings={
            "OPS_SETTLE_SECONDS": "0.5",
            # What was left is looked at before anybody fixes it.
            "OPS_RECOVER_AFTER_SECONDS": "86400",
            "OPS_BAKE_SECONDS": "1",
            "OPS_SMOKE_PATHS": "/,/about/",
        },
    )
    stack.destroy()
    try:
        stack.create(source)
        stack.compose("build", "utility", seconds=1800)
        return _kill_often(stack, random.Random(seed), kills=kills, rate=rate)
    finally:
        stack.destroy()


def _kill_often(stack: ScratchStack, dice: random.Random, *, kills: int, rate: float) -> int:
    for message in ("The first", "An undisturbed one"):
        # The second is measured: it finds a standby and has something to build, as the killed do.
        stack.commit(message, partial(_change, migration=True))
        undisturbed = stack.deploy()
        if undisturbed.code:
            print(undisturbed.output, undisturbed.errors)
            return undisturbed.code
    rows = []
    print(HEADING, flush=True)
    for number in range(kills):
        moment = random_moment(undisturbed, dice)
        row = kill_at(
            stack,
            moment.step,
            moment.when,
            seconds=moment.seconds,
            rate=rate,
            migration=number % 4 == 0,
            kill_recovery=dice.uniform(0, 2) if number % 3 == 0 else None,
        )
        print(describe_row(row), flush=True)
        rows.append(row)
    ledger = ledger_of(stack, rows)
    print(describe_total(rows, ledger))
    anything = any(row.lost for row in rows) or ledger.lost or ledger.doubled or ledger.tasks_lost
    return 1 if anything else 0


def random_moment(undisturbed: Result, dice: random.Random) -> Moment:
    """A moment inside a step, each moment of the whole deployment as likely as any other."""
    steps = [
        (event["step"], event["seconds"])
        for event in undisturbed.events
        if event["event"] == "step_succeeded"
    ]
    left = dice.uniform(0, sum(seconds for _, seconds in steps))
    for step, seconds in steps:
        if left < seconds:
            return Moment(step, "started", left)
        left -= seconds
    return Moment(steps[-1][0], "started", steps[-1][1])


HEADING = (
    f"\n{'step':<10} {'killed':<17} {'requests':>8} {'failed':>6} {'live':<13} {'seconds':>7} "
    f"{'recovered':<16} left behind"
)


def describe_row(row: Row) -> str:
    """A line of the table, and one for each thing that was lost."""
    recovered = ("no" if row.lost else "yes") + (", killed once" if row.recovery_killed else "")
    live = f"{row.color}, {'new' if row.moved else 'old'}"
    line = (
        f"{row.moment.step:<10} {row.moment!s:<17} {len(row.traffic.requests):>8} "
        f"{len(row.traffic.failed):>6} {live:<13} {row.seconds:>7.1f} {recovered:<16} "
        f"{', '.join(row.left) or 'nothing'}"
    )
    return "\n".join([line, *(f"    lost: {what}" for what in row.lost[:8])])


def describe_total(rows: Sequence[Row], ledger: Ledger) -> str:
    sent = sum(len(row.traffic.requests) for row in rows)
    failed = sum(len(row.traffic.failed) for row in rows)
    recovered = sum(not row.lost for row in rows)
    return (
        f"\n{len(rows)} kills: {recovered} recovered; {sent:,} requests, {failed} failed; posts: "
        f"{ledger.lost} lost, {ledger.doubled} doubled; their tasks: {ledger.tasks_lost} lost, "
        f"{ledger.tasks_doubled} run twice"
    )


def ledger_of(stack: ScratchStack, rows: Sequence[Row]) -> Ledger:
    """Posts and tasks of all kills together, counted in the database."""
    return Ledger.of(stack, Traffic(posted=[text for row in rows for text in row.traffic.posted]))


def _kill_deployment(stack: ScratchStack, moment: Moment) -> bool:
    """Whether the moment came. The container may end by itself before its kill arrives."""
    container = f"{stack.project}-killed-{secrets.token_hex(3)}"
    deployment = _start(stack, container, "deploy", "--format", "json")
    arrived = False
    assert deployment.stdout
    # Read to the end: a deployer whose pipe is full would stand still.
    for line in deployment.stdout:
        event = json.loads(line) if line.startswith("{") else {}
        if (event.get("event"), event.get("step")) == (f"step_{moment.when}", moment.step):
            arrived = True
            _kill_in(moment.seconds, container)
    deployment.communicate(timeout=COMMAND_SECONDS)
    return arrived


def _kill_recovery(stack: ScratchStack, seconds: float) -> None:
    container = f"{stack.project}-killed-{secrets.token_hex(3)}"
    recovery = _start(stack, container, "recover")
    assert recovery.stdout
    for number, _ in enumerate(recovery.stdout):
        if number == 0:
            _kill_in(seconds, container)
    recovery.communicate(timeout=COMMAND_SECONDS)


def _start(stack: ScratchStack, container: str, *arguments: str) -> subprocess.Popen[str]:
    """A management command in a container whose name is known, because it dies by it.

    The one-off containers that it starts itself go on, as they do on a server.
    """
    return subprocess.Popen(
        stack.manage_argv(*arguments, options=("--name", container)),
        cwd=stack.site,
        env=stack._shell(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _kill_in(seconds: float, container: str) -> None:
    # Through the API: the command line would need 50 ms more, and the deployer goes on meanwhile.
    engine = docker.APIClient()

    def kill() -> None:
        with suppress(APIError):  # It has ended by itself.
            engine.kill(container, "SIGKILL")

    Timer(seconds, kill).start()


def _wrong_at_front_door(stack: ScratchStack, live: str) -> list[str]:
    answers = [ask(f"127.0.0.1:{stack.port}", "/about/", host="localhost") for _ in range(ASKS)]
    wrong = {str(a) for a in answers if a.status != 200 or a.color != live}
    return [f"{live} is live, and the front door answers {answer}" for answer in sorted(wrong)]


def _left_behind(stack: ScratchStack, status: dict[str, Any]) -> list[str]:
    rows = [f"row #{row['id']} running" for row in status["deployments"] if _runs(row)]
    return rows + [f"container {name}" for name in _odd_containers(stack)]


def _wrong_after_recovery(
    stack: ScratchStack, status: dict[str, Any], *, release: str
) -> list[str]:
    wrong = [f"status: {problem}" for problem in status["problems"]]
    wrong += _left_behind(stack, status)
    if status["deploying"] is not None:
        wrong.append(f"the lock is held: {status['deploying']}")
    containers = [_label(c, "service") for c in _containers(stack) if not _is_one_off(c)]
    for service in REPLACED_SERVICES:
        if (count := containers.count(service)) != 1:
            wrong.append(f"{service} has {count} containers")
    runs = {
        "the front door": status["front_door"].get("release"),
        "the live colour": status["colors"][status["live"]].get("release"),
        "the worker": status["services"]["django-q"].get("release"),
    }
    wrong += [
        f"{who} has release {str(found)[:12]}, not {release[:12]}"
        for who, found in runs.items()
        if found != release
    ]
    return wrong


def _odd_containers(stack: ScratchStack) -> list[str]:
    """Names of containers that no service keeps: one-off ones, and Compose's temporary ones."""
    found = []
    for container in _containers(stack):
        name = container["Names"][0].lstrip("/")
        if (
            _is_one_off(container)
            or "changeover.deployment" in container["Labels"]
            or TEMPORARY_NAME.match(name)
        ):
            found.append(name.replace(f"{stack.project}-", ""))
    readers = docker.APIClient().containers(
        all=True, filters={"label": f"{READING_LABEL}={stack.project}"}
    )
    return found + [f"{reader['Names'][0].lstrip('/')} (reads an image)" for reader in readers]


def _containers(stack: ScratchStack) -> list[dict[str, Any]]:
    label = f"com.docker.compose.project={stack.project}"
    found: list[dict[str, Any]] = docker.APIClient().containers(all=True, filters={"label": label})
    return found


def _is_one_off(container: dict[str, Any]) -> bool:
    return _label(container, "oneoff") == "True"


def _label(container: dict[str, Any], name: str) -> str:
    return str(container["Labels"].get(f"com.docker.compose.{name}", ""))


def _runs(row: dict[str, Any]) -> bool:
    return bool(row["status"] == "running")


def _last_line(result: Result) -> str:
    return (result.output + result.errors).strip().rpartition("\n")[2][:300]


def _change(project: Path, *, build: bool = True, migration: bool) -> None:
    """A template's, which is quick to build, and now and then a column that nobody needs."""
    token = secrets.token_hex(4)
    if build:
        page = project / "apps/home/templates/home/about.html"
        page.write_text(page.read_text() + f"{{# {token} #}}\n")
    if migration:
        migrations = project / "apps/home/migrations"
        leaf = max(path.stem for path in migrations.glob("[0-9]*.py"))
        new = migrations / f"{int(leaf[:4]) + 1:04d}_{token}.py"
        new.write_text(MIGRATION.format(leaf=leaf, field=f"spare_{token}"))
