"""What the services stand on: is it old, and does it lack security updates?"""

from __future__ import annotations

from datetime import UTC, datetime

from apps.ops import updates
from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, Result, bad, good, unknown
from apps.ops.stack.engine import EngineAway
from apps.ops.stack.images import Images
from apps.ops.stack.service import OTHER_SERVICES

OURS = ("django-a", "django-b", "django-q", "jobs", "utility")
REFRESH = "manage.py deploy --refresh"


def look(settings: OpsSettings) -> Result:
    if not settings.health_image_days:
        return good("Not looked at (OPS_HEALTH_IMAGE_DAYS is 0).")
    try:
        ages = _ages(settings)
    except EngineAway as error:
        return unknown(error.found, next=error.next)
    if not ages:
        return unknown("No service runs whose image could be looked at.")
    oldest, days = max(ages.items(), key=lambda age: age[1])
    figures: dict[str, Figure] = {"oldest": oldest, "days": round(days, 1)}
    found = updates.kept(settings.state_dir)
    if lacking := {image.service: image.security for image in found or () if image.security}:
        service, security = next(iter(lacking.items()))
        count = f"{len(security)} security update{'' if len(security) == 1 else 's'}"
        others = ", ".join(list(lacking)[1:])
        return bad(
            f"The image of {service} lacks {count}, as {security[0]}."
            + (f" Others do, too: {others}." if others else ""),
            next=remedy(service),
            **figures,
            security=sum(map(len, lacking.values())),
        )
    if days > settings.health_image_days:
        return bad(
            f"{oldest} stands on a base image of {days:.0f} days: security updates since then are "
            "not in it.",
            next=remedy(oldest),
            **figures,
        )
    asked = "" if found is not None else " Security updates were not asked for (check_updates)."
    return good(f"The oldest base image is {oldest}'s, of {days:.0f} days.{asked}", **figures)


def remedy(service: str) -> str:
    """What brings a service a newer image."""
    if service in OURS:
        return REFRESH
    return (
        f"docker compose pull {service}   # then, at a quiet time, for it restarts: "
        f"docker compose up --detach --no-deps {service}"
    )


def _ages(settings: OpsSettings) -> dict[str, float]:
    """Days since the base of each service's image was made."""
    images, now = Images(settings.project, seconds=SECONDS), datetime.now(UTC)
    ages: dict[str, float] = {}
    for name in (Edge(settings.edge_dir).live().service, *OTHER_SERVICES):
        service = images.service(name)
        made_at = images.base_made_at(service.image) if service else None
        if made_at:
            ages[name] = (now - made_at).total_seconds() / 86400
    return ages
