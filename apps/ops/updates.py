"""Which security updates the images of the stack lack: asked of Debian's archive and the registry
once a day, kept in a file, and read by the health check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apps.ops import durable
from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge
from apps.ops.stack.images import Images
from apps.ops.stack.service import OTHER_SERVICES

FILE = "updates.json"
# One that is older says nothing any more: the job that writes it does not run.
GOOD_FOR = timedelta(days=3)
# As apt-get --simulate has it: Inst NAME [OLD] (NEW ORIGIN:…/SUITE [ARCHITECTURE])
_INST = re.compile(r"^Inst (\S+) \[(\S+)\] \((\S+) ([^)\[]*)")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a service's image. `security` are its updates ("openssl 3.0.1 → 3.0.2"),
    `newer` whether the registry has a newer image of that name; None: not known, and `why` says
    why."""

    service: str
    image: str
    security: list[str] | None = None
    newer: bool | None = None
    why: list[str] = field(default_factory=list)


def look(settings: OpsSettings, *, seconds: float) -> list[Found]:
    """Ask for the image of each service that runs, each image once.

    Args:
        seconds: how long asking for one image may take.

    Raises:
        EngineAway: Docker does not answer.
    """
    images, seen, found = Images(settings.project), set(), []
    for name in (Edge(settings.edge_dir).live().service, *OTHER_SERVICES):
        service = images.service(name)
        if service is None or service.image in seen:
            continue
        seen.add(service.image)
        upgrade, why_not = images.simulate_upgrade(service.image, seconds=seconds)
        newer, why_unknown = images.has_newer(service.container, seconds=seconds)
        found.append(
            Found(
                name,
                service.image,
                list(security_updates(upgrade)) if upgrade is not None else None,
                newer,
                [why for why in (why_not, why_unknown) if why],
            )
        )
    return found


def security_updates(upgrade: str) -> Iterator[str]:
    """Those of a simulated upgrade that come from a security archive."""
    for line in upgrade.splitlines():
        if (update := _INST.match(line)) and "security" in update[4].lower():
            yield f"{update[1]} {update[2]} → {update[3]}"


def keep(found: list[Found], directory: Path) -> None:
    """Raises OSError."""
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": [asdict(image) for image in found],
    }
    directory.mkdir(parents=True, exist_ok=True)
    durable.write(directory / FILE, json.dumps(record))


def kept(directory: Path) -> list[Found] | None:
    """What was last found; None when that was never, is too old to say anything, or is damaged."""
    try:
        record = json.loads((directory / FILE).read_bytes())
        if datetime.now(UTC) - datetime.fromisoformat(record["at"]) > GOOD_FOR:
            return None
        return [Found(**image) for image in record["images"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
