from __future__ import annotations

import json
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = (
        "What a deployment asks of a new release in its own image before anything is touched: "
        "Django's deployment checks, and the migrations it would apply. Prints one line of JSON."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        found = checks.run_checks(include_deployment_checks=True, databases=["default"])
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        report = {
            "errors": [str(message) for message in found if message.is_serious()],
            "warnings": [str(m) for m in found if m.level >= checks.WARNING and not m.is_serious()],
            "migrations": [f"{migration.app_label}.{migration.name}" for migration, _ in plan],
        }
        self.stdout.write(json.dumps(report))
