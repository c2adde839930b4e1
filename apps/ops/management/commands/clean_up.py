from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

from apps.ops.clean_up import clean_up
from apps.ops.management.base import OpsCommand


class Command(OpsCommand):
    help = (
        "Remove what piles up: expired sessions, old task results, old runs of jobs, images of old "
        "releases, what killed deployments left. Exit code 0, or 1 when a part of it failed: the "
        "others are done all the same."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        failed = clean_up(settings.OPS, say=self.stdout.write)
        for error in failed:
            self.tell(error, traffic="")
        if failed:
            self.stderr.write("Traffic is as it was.")
            sys.exit(1)
