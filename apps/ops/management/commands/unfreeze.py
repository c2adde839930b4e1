from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

from apps.ops import freezes, postgres
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.requester import Requester


class Command(OpsCommand):
    help = (
        "Let deployments through again. Exit code 0, also when nothing was frozen; 1 when Postgres "
        "does not answer."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with postgres.answering(without="Nothing was changed."):
                lifted = freezes.unfreeze(by=Requester.now(settings.OPS).by)
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        if lifted is None:
            self.stdout.write("Deployments were not frozen.")
        else:
            self.stdout.write(f"Lifted: the freeze by {freezes.describe(lifted)}.")
