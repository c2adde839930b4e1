"""Who gets traffic, what runs, what was deployed. Docker and the edge tell the first two, so that
they are known with Postgres down; Postgres only tells the history."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import DatabaseError, connection

from apps.ops.colors import Color
from apps.ops.conf import OpsSettings
from apps.ops.deploys import lock, recovery
from apps.ops.edge.files import Edge, Maintenance
from apps.ops.edge.inflight import in_flight
from apps.ops.edge.probe import Answer, ask
from apps.ops.errors import OpsError
from apps.ops.models import Deployment
from apps.ops.postgres import Trouble, trouble_of
from apps.ops.stack.engine import Engine
from apps.ops.stack.service import OTHER_SERVICES, Service
from apps.ops.variables import DEFAULT_COUNTS, wrong_variables

PROBE_SECONDS = 2.0
# The agent and the jobs may be about to follow a release, and no visitor misses them.
SERVING = tuple(name for name in OTHER_SERVICES if name not in ("jobs", "utility"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorStatus:
    """A colour: its container, what it answers at its own address, and how much it is answering."""

    color: Color
    service: Service | None
    ready: Answer | None
    in_flight: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`problems` are sentences; none means that the site is served as it should be."""

    live: Color
    maintenance: Maintenance | None
    front_door: Answer
    colors: Sequence[ColorStatus] = ()
    services: Sequence[tuple[str, Service | None]] = ()
    deploying: str | None = None
    deployments: Sequence[Deployment] = ()
    problems: Sequence[str] = field(default=())


def read_status(settings: OpsSettings, *, limit: int) -> Status:
    """Look at everything; never raises for what is broken, it says so in `problems`.

    Takes PROBE_SECONDS and a little, however much of the stack is hung.
    """
    edge = Edge(settings.edge_dir)
    edge.forget_old_previews()
    engine = Engine(settings.project, seconds=PROBE_SECONDS)
    problems = [f"{wrong} {DEFAULT_COUNTS}" for wrong in wrong_variables()]
    with ThreadPoolExecutor(max_workers=8) as pool:
        front_door = pool.submit(
            ask,
            settings.probe_address,
            "/health/ready",
            host=settings.site_host,
            seconds=PROBE_SECONDS,
        )
        history = pool.submit(_last_deployments, limit)
        try:
            engine.version()
            colors = list(pool.map(lambda c: _color_status(c, engine, settings), Color))
            services = list(pool.map(lambda s: (s, engine.service(s)), SERVING))
        except OpsError as error:
            problems.append(f"{error.found} Next: {error.next}")
            colors, services = [], []
        deployments, trouble = history.result()
        answer = front_door.result()
    live, maintenance = edge.live(), edge.maintenance()
    if trouble:
        problems.append(f"{trouble.found}: no history. Next: {trouble.next}")
    problems += _problems(live, maintenance, answer, colors, services)
    deploying = lock.holder(settings.state_dir)
    if deploying is None:
        problems += _left_behind(settings, deployments)
    return Status(
        live=live,
        maintenance=maintenance,
        front_door=answer,
        colors=colors,
        services=services,
        deploying=deploying,
        deployments=deployments,
        problems=problems,
    )


def _color_status(color: Color, engine: Engine, settings: OpsSettings) -> ColorStatus:
    service = engine.service(color.service)
    ready = None
    if service and service.running and service.address:
        ready = ask(
            f"{service.address}:8000",
            "/health/ready",
            host=settings.site_host,
            seconds=PROBE_SECONDS,
        )
    return ColorStatus(
        color=color,
        service=service,
        ready=ready,
        in_flight=in_flight(settings.caddy_admin, color),
    )


def _left_behind(settings: OpsSettings, deployments: Sequence[Deployment]) -> list[str]:
    """What no process will end any more, as the journal and the history know it."""
    try:
        left = [recovery.describe(story, settings) for story in recovery.left_behind(settings)]
    except OSError as error:
        return [f"The journal cannot be read: {error}. Next: df -h"]
    running = [row for row in deployments if row.status == Deployment.Status.RUNNING]
    if running and not left:
        left = [f"Deployment #{running[0].pk} says that it runs, and nobody runs it."]
    return [f"{said} Next: manage.py recover" for said in left]


def _last_deployments(limit: int) -> tuple[list[Deployment], Trouble | None]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '2s'")
        return list(Deployment.objects.select_related("release").order_by("-id")[:limit]), None
    except DatabaseError as error:
        return [], trouble_of(error)
    finally:
        connection.close()


def _problems(
    live: Color,
    maintenance: Maintenance | None,
    answer: Answer,
    colors: Sequence[ColorStatus],
    services: Sequence[tuple[str, Service | None]],
) -> list[str]:
    problems = []
    by_color = {status.color: status.service for status in colors}
    if colors and not any(by_color.values()):
        return ["Nothing was deployed yet. Next: manage.py deploy"]
    if maintenance:
        who = f", put up by {maintenance.by}" if maintenance.by else ""
        problems.append(f"The maintenance page is up{who}. Next: manage.py maintenance off")
    elif answer.status != 200:
        # Caddy's own answer names no release; a colour's does, and then it is the colour's trouble.
        said = live.service if answer.body.get("release") else "caddy"
        problems.append(f"The front door answers {answer}. Next: docker compose logs {said}")
    elif answer.body.get("color") != live:
        problems.append(
            f"The edge says {live}, and {answer.body.get('color') or 'somebody else'} answers at "
            "the front door."
        )
    service = by_color.get(live)
    if colors and not (service and service.running):
        problems.append(
            f"{live} gets the traffic and its container does not run. "
            f"Next: docker compose up -d --no-deps --no-build {live.service}"
        )
    for name, other in services:
        if other is None or not other.running:
            problems.append(f"{name} does not run. Next: docker compose logs {name}")
        elif other.health == "unhealthy":
            problems.append(f"{name} is unhealthy. Next: docker compose logs {name}")
    return problems
