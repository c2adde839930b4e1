from __future__ import annotations

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed


class Migrate(Step):
    """Apply the release's migrations, once, in a one-off container of its image.

    Both releases share the database from here on: migrations only expand it. `lock_timeout` keeps a
    migration that waits for a long query from queueing the whole site behind itself.
    """

    name = "migrate"

    def run(self, deploy: Deploy) -> str:
        pending = deploy.pending_migrations
        if not pending:
            return "nothing to apply"
        # A migration whose client was ended must end, too: without being told to look, Postgres
        # goes on to the end of the statement and holds its locks for as long.
        options = (
            f"-c lock_timeout={int(deploy.settings.lock_timeout_seconds * 1000)}"
            " -c client_connection_check_interval=2s"
        )
        try:
            deploy.compose(deploy.plan.commit.sha).run(
                deploy.plan.candidate.service,
                ["python", "manage.py", "migrate", "--noinput"],
                env={"ROLE": "migrate", "PGOPTIONS": options},
                seconds=deploy.settings.migrate_seconds,
                say=deploy.say,
            )
        except ProgramFailed as error:
            raise StepFailed(
                f"The migrations failed ({len(pending)} were to be applied, from {pending[0]} on).",
                output=error.output,
                next="manage.py showmigrations   # each is a transaction: see which were applied",
            ) from error
        return f"{len(pending)} applied"
