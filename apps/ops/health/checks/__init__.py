"""The built-in checks: one a file. `ALL` has them in the order in which they are shown."""

from __future__ import annotations

from functools import partial

from apps.ops.colors import Color
from apps.ops.health.checks import (
    backups,
    cache,
    certificate,
    checkout,
    clock,
    cron,
    database,
    disk,
    drift,
    edge,
    engine,
    front_door,
    images,
    memory,
    roles,
    services,
    standby,
    supervisor,
    workers,
)
from apps.ops.health.checks.deploying import unless_deploying
from apps.ops.health.result import HealthCheck, Status

# BAD where the thing itself is asked: one that is hung serves nobody.
ALL: tuple[HealthCheck, ...] = (
    HealthCheck("docker", engine.look, Status.BAD, "sudo systemctl restart docker"),
    *(
        HealthCheck(f"service-{name}", partial(services.look, name=name))
        for name in ("postgres", "redis", "caddy", "media")
    ),
    *(
        HealthCheck(f"service-{color.service}", partial(services.look_at_color, color=color))
        for color in Color
    ),
    HealthCheck("service-django-q", unless_deploying(partial(services.look, name="django-q"))),
    HealthCheck(
        "service-utility", unless_deploying(partial(services.look_at_agent, name="utility"))
    ),
    HealthCheck("service-jobs", unless_deploying(partial(services.look, name="jobs"))),
    HealthCheck("front-door", front_door.look, Status.BAD, "docker compose logs --tail 50 caddy"),
    HealthCheck("edge", edge.look),
    HealthCheck("drift", drift.look),
    HealthCheck("standby", unless_deploying(standby.look)),
    HealthCheck("postgres", database.look, Status.BAD, "docker compose ps --all postgres"),
    HealthCheck("roles", roles.look, next="docker compose ps --all postgres"),
    HealthCheck("redis", cache.look, Status.BAD, "docker compose ps --all redis"),
    HealthCheck("workers", unless_deploying(workers.look)),
    HealthCheck("disk", disk.look, Status.BAD, "df -h   # on the server; a volume hangs"),
    HealthCheck("memory", memory.look),
    HealthCheck("certificate", certificate.look, Status.BAD, "docker compose ps --all caddy"),
    HealthCheck("backups", backups.look),
    HealthCheck("images", images.look),
    HealthCheck("clock", clock.look),
    HealthCheck("supervisor", supervisor.look, Status.BAD, "sudo supervisorctl status"),
    HealthCheck("cron", cron.look),
    HealthCheck("checkout", checkout.look, next="git ls-remote   # in the checkout, as its owner"),
)
