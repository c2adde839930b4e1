"""Which packages an image has, as `docker/inventory.py` wrote them down when it was built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

from docker.errors import NotFound

from apps.ops.stack.engine import Engine

DIRECTORY = "/usr/share/changeover"
FILE = "packages.json"
KINDS = ("deb", "pypi")


@dataclass(frozen=True, slots=True)
class Inventory:
    """Names and versions by kind: Debian's packages and PyPI's.

    `made_at` is when they were installed (ISO 8601): what the builder takes from its cache is of
    that day. `system` is ID and VERSION_ID of its /etc/os-release.
    """

    made_at: str
    system: Mapping[str, str] = field(default_factory=dict)
    deb: Mapping[str, str] = field(default_factory=dict)
    pypi: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Inventory:
        """Raises ValueError for what is none."""
        try:
            made_at, system = str(record["made_at"]), _words(record["system"])
            return cls(made_at, system, **{kind: _words(record[kind]) for kind in KINDS})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no inventory: {error!r}") from error

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    def __len__(self) -> int:
        return len(self.deb) + len(self.pypi)


def read(engine: Engine, tag: str) -> Inventory | None:
    """The inventory of one of the project's images; None when it, or the image, is not there: a
    release from before there were inventories, or a Dockerfile that writes none.

    Raises:
        EngineAway: Docker does not answer.
    """
    try:
        files = dict(engine.read_tree(f"{engine.project}:{tag}", DIRECTORY))
        return Inventory.of(json.loads(files[FILE]))
    except (NotFound, KeyError, ValueError):
        return None


def changes(old: Inventory, new: Inventory) -> list[str]:
    """What differs, a line a package: "openssl 3.5.1 → 3.5.4", by name."""
    found: list[str] = []
    for kind in KINDS:
        before, after = getattr(old, kind), getattr(new, kind)
        found += (
            f"{name} {_step(before.get(name), after.get(name))}"
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        )
    return sorted(found)


def cyclonedx(inventory: Inventory, *, name: str, version: str) -> dict[str, Any]:
    """A software bill of materials in CycloneDX 1.6: https://cyclonedx.org/docs/1.6/json/."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same release has the same number, whoever asks.
        "serialNumber": f"urn:uuid:{UUID(f'{version:0<32.32}')}",
        "version": 1,
        "metadata": {
            "timestamp": inventory.made_at,
            "component": {"type": "application", "name": name, "version": version},
        },
        "components": list(_components(inventory)),
    }


def _components(inventory: Inventory) -> Iterator[dict[str, str]]:
    system = inventory.system
    distro = quote(f"{system.get('ID', '')}-{system.get('VERSION_ID', '')}")
    # https://github.com/package-url/purl-spec/blob/main/PURL-TYPES.rst
    places = {"deb": f"pkg:deb/{quote(system.get('ID') or 'debian')}/", "pypi": "pkg:pypi/"}
    for kind in KINDS:
        for name, version in sorted(getattr(inventory, kind).items()):
            purl = f"{places[kind]}{quote(name, safe='')}@{quote(version, safe='')}"
            purl += f"?distro={distro}" if kind == "deb" else ""
            yield {
                "type": "library",
                "name": name,
                "version": version,
                "purl": purl,
                "bom-ref": purl,
            }


def _step(before: str | None, after: str | None) -> str:
    if before is None:
        return f"{after} (new)"
    return f"{before} → {after}" if after else f"{before} (gone)"


def _words(record: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in record.items()}
