"""Writes down which packages an image has and when they were installed, while it is built.

`manage.py sbom` shows it, and a deployment says from it what a new image brings.
"""

import json
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

PLACE = Path("/usr/share/changeover/packages.json")


def main() -> None:
    os_release = Path("/etc/os-release").read_text()
    system = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    inventory = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": {key: system.get(key, "").strip('"') for key in ("ID", "VERSION_ID")},
        "deb": debian(),
        "pypi": {found.name.lower(): found.version for found in distributions()},
    }
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(inventory, sort_keys=True))


def debian() -> dict[str, str]:
    query = ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\n"]
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines)


main()
