"""What is wrong, and what to type: the health checks, and on top of them who is live, whether a
deployment is stuck, and what the logs of the failing services say.

Needs nothing to be up; what cannot be looked at is said to be so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic

from docker.errors import DockerException, NotFound
from requests import RequestException

import docker
from apps.ops import freezes, postgres
from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deadlines import side_by_side
from apps.ops.deploys import journal, lock, recovery
from apps.ops.deploys.lock import Holding
from apps.ops.deploys.story import Story
from apps.ops.edge.files import Edge
from apps.ops.edge.probe import ask
from apps.ops.errors import OpsError
from apps.ops.health import registry, runner
from apps.ops.health.result import HealthCheck, Result, Status, bad, good, unknown
from apps.ops.health.runner import Finding
from apps.ops.models import Deployment
from apps.ops.redact import Redactor
from apps.ops.stack.engine import Engine, EngineAway
from apps.ops.variables import DEFAULT_COUNTS, wrong_variables

# With the start of Python, both together stay below 5 s, whatever hangs.
LOOK_SECONDS = 2.5
LOG_SECONDS = 1.5
API_SECONDS = 2.0
LOG_LINES = 10
WITHOUT_POSTGRES = "Whether deployments are frozen, and what the history says, is not known."


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`live` is None when it is not known. `logs` are the last lines of the services that a finding
    points to, by service."""

    live: Color | None
    findings: Sequence[Finding]
    logs: dict[str, list[str]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: all is well; 1: something is wrong; 3: nothing is, as far as could be looked."""
        return runner.exit_code(self.findings)


def examine(settings: OpsSettings) -> Diagnosis:
    """Look at everything, for LOOK_SECONDS and LOG_SECONDS at the most. Never raises."""
    quick = replace(settings, health_seconds=min(settings.health_seconds, LOOK_SECONDS))
    findings = runner.run([*registry.configured(quick), *OWN], quick)
    live = Edge(settings.edge_dir).live() if _readable(settings.edge_dir) else None
    suspects = list(_suspects(findings, live or Color.BLUE))
    return Diagnosis(live=live, findings=findings, logs=_logs(suspects, settings))


def _readable(directory: Path) -> bool:
    return os.access(directory, os.R_OK | os.X_OK)


def _unseen(directory: Path, what: str) -> Result:
    """Not there, as outside of `utility`, or not ours: that a file is absent then means nothing."""
    return unknown(
        f"{directory} cannot be read here, so {what} is not known.",
        next="docker compose run --rm utility python manage.py doctor",
    )


def _live(settings: OpsSettings) -> Result:
    if not _readable(settings.edge_dir):
        return _unseen(settings.edge_dir, "who is live")
    color = Edge(settings.edge_dir).live()
    shown = f"{color} ({color.service})"
    try:
        service = Engine(settings.project, seconds=API_SECONDS).service(color.service)
    except EngineAway as error:
        return unknown(
            f"{shown} is live by the edge; whether it runs only Docker knows.", next=error.next
        )
    if service is None or not service.running:
        state = f"does not run ({service.status})" if service else "has no container"
        return bad(
            f"{shown} is live and {state}.",
            next=f"docker compose up -d --no-deps --no-recreate --no-build {color.service}",
        )
    answer = ask(
        f"{service.address}:8000", "/health/ready", host=settings.site_host, seconds=API_SECONDS
    )
    if answer.status != 200:
        return bad(
            f"{shown} is live and answers {answer}.",
            next=f"docker compose logs --tail 50 {color.service}   # was the last release well? "
            "manage.py rollback",
        )
    return good(f"{shown} is live and answers {answer}.")


def _maintenance(settings: OpsSettings) -> Result:
    if not _readable(settings.edge_dir):
        return _unseen(settings.edge_dir, "whether the maintenance page is up")
    page = Edge(settings.edge_dir).maintenance()
    if page is None:
        return good("The maintenance page is down.")
    holding = lock.held_by(settings.state_dir)
    if page.deployment and holding and holding.uid == page.deployment:
        return good(f"The maintenance page is up while a deployment needs it: {holding.holder}.")
    who = page.by or "somebody by hand"
    why = f" ({page.reason})" if page.reason else ""
    return bad(
        f"The maintenance page is up since {page.since:%Y-%m-%d %H:%M} UTC, put up by {who}{why}: "
        "visitors get 503.",
        next="manage.py maintenance off",
    )


def _deployment(settings: OpsSettings) -> Result:
    """What the lock and the journal say; they need neither Postgres nor Docker."""
    if not _readable(settings.state_dir):
        return _unseen(settings.state_dir, "whether a deployment runs")
    holding = lock.held_by(settings.state_dir)
    if holding is not None:
        return _held(holding, settings)
    if left := recovery.left_behind(settings):
        more = f" And {len(left) - 1} more." if len(left) > 1 else ""
        return bad(
            f"Left behind: {recovery.describe(left[0], settings)}{more}", next="manage.py recover"
        )
    return good("No deployment runs, and none left anything behind.")


def _held(holding: Holding, settings: OpsSettings) -> Result:
    story = next((s for s in journal.stories(settings.state_dir) if s.uid == holding.uid), None)
    where = f", in {story.running_step}" if story and story.running_step else ""
    runs = f"A {holding.what or 'deployment'} holds the lock: {holding.holder or 'unknown'}{where}"
    state = _container_state(holding.container)
    logs = f"docker logs --tail 50 {holding.container}"
    if state == "paused":
        return bad(f"{runs}; its container is paused.", next=f"docker unpause {holding.container}")
    if story and story.started_at and _age(story) > _longest(settings):
        return bad(
            f"{runs}. It runs longer than all its deadlines together "
            f"({_longest(settings) / 60:.0f} min): it is stuck.",
            next=f"{logs}   # then: manage.py cancel",
        )
    return good(f"{runs}. Its container: {state or 'none of this engine'}.")


def _container_state(name: str) -> str:
    """Docker's word for it; "" when there is no such container, or nobody to ask."""
    try:
        client = docker.from_env(timeout=int(API_SECONDS))
        try:
            return str(client.containers.get(name).status) if name else ""
        finally:
            client.close()
    except NotFound:
        return ""
    except (DockerException, RequestException, OSError):
        return "not known without Docker"


def _age(story: Story) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(story.started_at)).total_seconds()


def _longest(settings: OpsSettings) -> float:
    """Seconds that a deployment may take in which every step takes as long as it may."""
    waits = settings.lock_attempts * settings.lock_timeout_seconds
    graces = settings.worker_stop_grace_seconds + settings.web_stop_grace_seconds
    steps = settings.fetch_seconds + 2 * settings.build_seconds + settings.backup_seconds
    proof = settings.start_seconds + settings.canary_seconds + settings.bake_seconds
    return steps + waits + settings.migrate_seconds + proof + settings.drain_seconds + graces


def _freeze(settings: OpsSettings) -> Result:
    there = freezes.in_force(settings.state_dir)
    if there is None:
        return good("Deployments are not frozen.")
    return good(f"Deployments are frozen by {there.describe()}")


def _history(settings: OpsSettings) -> Result:
    if lock.held_by(settings.state_dir) is not None:
        return good("The history is the running deployment's to write.")
    with postgres.answering(without=WITHOUT_POSTGRES):
        running = Deployment.objects.filter(status=Deployment.Status.RUNNING).first()
    if running is None:
        return good("The history has no deployment that nobody runs.")
    return bad(
        f"Deployment #{running.pk} says that it runs, and nobody runs it.", next="manage.py recover"
    )


def _variables(settings: OpsSettings) -> Result:
    if wrong := wrong_variables():
        return bad(f"{' '.join(wrong)} {DEFAULT_COUNTS}", next="fix it in .env: docs/settings.md")
    return good("Every variable can be read.")


OWN = (
    HealthCheck("variables", _variables),
    HealthCheck("live", _live, Status.BAD, "docker compose ps --all"),
    HealthCheck("maintenance", _maintenance),
    HealthCheck("deployment", _deployment, Status.BAD, "df -h   # the state volume hangs"),
    HealthCheck("freeze", _freeze, next="df -h   # the state volume hangs"),
    HealthCheck("history", _history, next="docker compose ps --all postgres"),
)


def _suspects(findings: Sequence[Finding], live: Color) -> Iterator[str]:
    """The services whose logs may say why."""
    of_check = {
        "postgres": ("postgres",),
        "redis": ("redis",),
        "workers": ("django-q",),
        "live": (live.service,),
        "front-door": ("caddy", live.service),
        "certificate": ("caddy",),
        "standby": (live.other.service,),
        "cron": ("utility", "jobs"),
    }
    for finding in findings:
        if finding.result.status is Status.BAD:
            service = finding.name.removeprefix("service-")
            yield from (service,) if service != finding.name else of_check.get(finding.name, ())


def _logs(services: Sequence[str], settings: OpsSettings) -> dict[str, list[str]]:
    wanted = list(dict.fromkeys(services))
    answers = side_by_side(
        [partial(_log, name, settings) for name in wanted],
        until=[monotonic() + LOG_SECONDS] * len(wanted),
    )
    clean = Redactor.from_environment().clean
    return {
        name: [clean(line) for line in answer]
        for name, answer in zip(wanted, answers, strict=True)
        if not isinstance(answer, BaseException) and answer
    }


def _log(service: str, settings: OpsSettings) -> list[str]:
    try:
        engine = Engine(settings.project, seconds=API_SECONDS)
        return engine.logs(service, lines=LOG_LINES).splitlines()
    except OpsError:
        return []  # The finding about Docker says why.
