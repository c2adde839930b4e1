"""`status`, for eyes and for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from apps.ops.presenters.styled import Screen, table
from apps.ops.stack.service import Service
from apps.ops.status import ColorStatus, Status


def print_status(status: Status, console: Screen) -> None:
    console.print(_traffic(status, console))
    if status.deploying:
        console.say("[yellow]A deployment runs: {}[/]", status.deploying)
    if status.colors or status.services:
        console.print(_services(status))
    if status.deployments:
        console.print(_deployments(status))
    for problem in status.problems:
        console.say("[red]! {}[/]", problem)


def status_as_json(status: Status) -> dict[str, Any]:
    return {
        "live": status.live.value,
        "maintenance": status.maintenance is not None,
        "front_door": {
            **status.front_door.body,
            "status": status.front_door.status,
            "reason": status.front_door.reason,
        },
        "colors": {
            s.color.value: {
                **_service_as_json(s.service),
                "ready": s.ready.status == 200 if s.ready else False,
                "in_flight": s.in_flight,
            }
            for s in status.colors
        },
        "services": {name: _service_as_json(service) for name, service in status.services},
        "deploying": status.deploying,
        "deployments": [
            {
                "id": d.pk,
                "kind": d.kind,
                "status": d.status,
                "ref": d.ref,
                "release": d.release.sha if d.release else None,
                "color": d.color,
                "requested_by": d.requested_by,
                "requested_from": d.requested_from,
                "created_at": d.created_at.isoformat(),
                "finished_at": d.finished_at.isoformat() if d.finished_at else None,
                "exit_code": d.exit_code,
            }
            for d in status.deployments
        ],
        "problems": list(status.problems),
    }


def _service_as_json(service: Service | None) -> dict[str, Any]:
    if service is None:
        return {"status": "absent"}
    return {
        "status": service.status,
        "health": service.health,
        "release": service.release,
        "started_at": service.started_at,
        "restarts": service.restarts,
    }


def _traffic(status: Status, console: Screen) -> Text:
    who = console.styled("[bold]{}[/] ({}) gets the traffic", status.live, status.live.service)
    if page := status.maintenance:
        by = f" (put up by {page.by})" if page.by else ""
        return console.styled("[yellow]The maintenance page is up[/]{}; behind it {}.", by, who)
    return console.styled("{}; the front door answers {}.", who, status.front_door)


def _services(status: Status) -> Table:
    rows = table("service", "role", "release", "state", "since", "in flight")
    for color in status.colors:
        rows.add_row(
            color.color.service,
            f"{color.color}, live" if color.color is status.live else str(color.color),
            *_cells(color.service, _readiness(color)),
            "" if color.in_flight is None else str(color.in_flight),
        )
    for name, service in status.services:
        rows.add_row(name, "", *_cells(service, service.health if service else ""), "")
    return rows


def _readiness(color: ColorStatus) -> str:
    if color.ready is None:
        return ""
    return "ready" if color.ready.status == 200 else f"not ready: {color.ready}"


def _cells(service: Service | None, health: str) -> tuple[str, str, str]:
    if service is None:
        return "", "absent", ""
    state = ", ".join(part for part in (service.status, health) if part)
    if service.restarts:
        state += f", restarted {service.restarts} times"
    return service.release[:12], state, _since(service.started_at)


def _since(iso: str) -> str:
    # Docker writes nanoseconds; Python reads microseconds.
    moment = datetime.fromisoformat(iso[:19]).replace(tzinfo=UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.year > 1 else ""


def _deployments(status: Status) -> Table:
    rows = table("#", "what", "release", "how it went", "by", "from", "when (UTC)", "took")
    for d in status.deployments:
        rows.add_row(
            str(d.pk),
            f"{d.kind} {d.ref[:40]}",
            d.release.short if d.release else "",
            d.status,
            d.requested_by,
            d.requested_from,
            f"{d.created_at:%Y-%m-%d %H:%M:%S}",
            f"{d.duration.total_seconds():.0f} s" if d.duration else "",
        )
    return rows
