from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from apps.ops.canary import send, wait
from apps.ops.errors import OpsError


class Command(BaseCommand):
    help = (
        "Send a task to the worker and wait until it comes back: whether tasks are run, which no "
        "look at its processes tells. Exit code 0, or 1 when it does not come back within "
        "OPS_CANARY_SECONDS."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        begun = monotonic()
        try:
            release = wait(send(), seconds=settings.OPS.canary_seconds)
        except OpsError as error:
            lines = [error.found, *([error.output] if error.output else [])]
            lines += ["Traffic is as it was; tasks may be waiting.", f"Next: {error.next}"]
            self.stderr.write("\n".join(lines))
            sys.exit(error.exit_code)
        self.stdout.write(
            f"The worker answered in {monotonic() - begun:.1f} s, from release {release[:12]}."
        )
