from __future__ import annotations

from apps.ops.backups.take import take
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.requester import Requester


class Backup(Step):
    """Back the database up before a migration that takes something away or cannot be taken back.

    What is left of it by a kill, the next backup clears away: there is nothing to undo.
    """

    name = "backup"

    def run(self, deploy: Deploy) -> str:
        migrations = (deploy.intended("preflight") or {}).get("migrations", [])
        if not migrations:
            return "not needed: no migrations"
        if not any(m["kind"] == "contract" or not m["reversible"] for m in migrations):
            return "not needed: the migrations only add"
        backup = take(
            deploy.settings,
            reason=f"before the migrations of {deploy.plan.commit.sha[:12]}",
            requested_by=Requester.now(deploy.settings).by,
            release=deploy.plan.live_release,
            media=False,
            say=deploy.say,
        )
        return f"{backup.name}, {(backup.size + backup.media_size) / 1e6:.1f} MB"
