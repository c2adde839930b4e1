from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from django.conf import settings

from apps.ops import durable
from apps.ops.canary import send, wait
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand


class Command(OpsCommand):
    help = (
        "Send a task to the worker and wait until it comes back: whether tasks are run, which no "
        "look at its processes tells. Exit code 0, or 1 when it does not come back within "
        "OPS_CANARY_SECONDS."
    )
    works_in_development = True
    works_with_wrong_variables = True
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        begun = monotonic()
        try:
            release = wait(send(), seconds=settings.OPS.canary_seconds)
            seconds = monotonic() - begun
        except OpsError as error:
            self.tell(error, traffic="Traffic is as it was; tasks may be waiting.")
            sys.exit(error.exit_code)
        self.stdout.write(f"The worker answered in {seconds:.1f} s, from release {release[:12]}.")
        try:
            _write_down(settings.OPS.state_dir / "agent" / "canary", release, seconds)
        except OSError as error:
            self.stderr.write(f"That cannot be written down for check_health: {error}.")


def _write_down(path: Path, release: str, seconds: float) -> None:
    at = datetime.now(UTC).isoformat()
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"at": at, "release": release, "seconds": round(seconds, 3)}
    durable.write(path, json.dumps(record))
