from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

from apps.ops import freezes
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.management.commands.freeze import publish
from apps.ops.requester import Requester


class Command(OpsCommand):
    help = (
        "Let deployments through again. Works with Postgres down. Exit code 0, also when nothing "
        "was frozen; 1 when the state volume cannot be written."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lifted = freezes.unfreeze(
                by=Requester.now(settings.OPS).by, state_dir=settings.OPS.state_dir
            )
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        if lifted is None:
            self.stdout.write("Deployments were not frozen.")
        else:
            self.stdout.write(f"Lifted: the freeze by {lifted.describe()}.")
            publish(self.stdout)
