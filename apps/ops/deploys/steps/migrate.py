from __future__ import annotations

from typing import Any

from django.conf import settings as site

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.roles.logins import OWNER
from apps.ops.secret_files import DIRECTORY


class Migrate(Step):
    """Apply the migrations that come before the swap, once, in a one-off container of the image.

    Both releases share the database from here on: these migrations only expand it, unless somebody
    let a contract one through (--maintenance, --allow-contract).
    """

    name = "migrate"

    def run(self, deploy: Deploy) -> str:
        todo = planned(deploy, "before")
        rights = (deploy.intended("preflight") or {}).get("rights", 0)
        if not todo and not rights:
            return "nothing to apply"
        names = [migration["name"] for migration in todo]
        contract = any(migration["kind"] == "contract" for migration in todo)
        deploy.intend("migrate", contract=contract, names=names)
        first = [] if deploy.plan.live_release else ["--first"]
        try:
            run_in_new_image(deploy, ["before", *first])
        except ProgramFailed as error:
            raise StepFailed(
                f"The migrations failed ({len(names)} were to be applied, from {names[0]} on)."
                if names
                else "The database's rights could not be changed.",
                output=error.output,
                next="manage.py showmigrations   # what is applied; the last line above says why",
            ) from error
        return f"{len(names)} applied" + (f", {rights} rights changed" if rights else "")

    def undo(self, deploy: Deploy) -> bool:
        """Contract migrations are reversed, for the release that goes on serving needs what they
        took away. Those that only expanded stay: it runs on them."""
        intended = deploy.intended("migrate")
        if intended is None or not intended["contract"] or not deploy.plan.live_release:
            return False
        kinds = [migration["kind"] for migration in planned(deploy, "before")]
        # What came before the first contract one only expanded, and may not be reversible.
        names = intended["names"][kinds.index("contract") :]
        try:
            run_in_new_image(deploy, ["reverse", *names])
        except ProgramFailed as error:
            deploy.schema_is_new = True
            page = " The maintenance page stays up." if deploy.options.maintenance else ""
            found = (
                "The migrations could not be reversed: the schema stays as the new release wants "
                f"it, and the live release may not run on it.{page}"
            )
            what_next = "deploy a release that runs on it, or: manage.py restore_db"
            if error.code == Refused.exit_code:
                # They cannot be reversed at all: no later try does better, so nobody waits for one.
                deploy.warnings.append(f"{found} Next: {what_next}")
                return False
            raise StepFailed(found, output=error.output, next=what_next) from error
        return True


def planned(deploy: Deploy, phase: str) -> list[dict[str, Any]]:
    """The pending migrations of a phase, as the preflight saw them."""
    migrations = (deploy.intended("preflight") or {}).get("migrations", [])
    return [migration for migration in migrations if migration["phase"] == phase]


def run_in_new_image(deploy: Deploy, arguments: list[str]) -> None:
    """Run `apply_migrations` in the new release's image, in a colour's place.

    Raises:
        ProgramFailed: its last line says why.
    """
    color = deploy.plan.candidate
    # Undoing the start may have given the colour's name back to the standby's image.
    deploy.engine.tag(f"{deploy.settings.project}:{deploy.plan.commit.sha}", color.value)
    deploy.compose(deploy.plan.commit.sha).run(
        color.service,
        ["python", "manage.py", "apply_migrations", *arguments],
        # A migration whose client was ended must end, too: without being told to look, Postgres
        # goes on to the end of the statement and holds its locks for as long.
        env={"ROLE": "migrate", "PGOPTIONS": "-c client_connection_check_interval=2s"},
        volumes=owners_secrets(deploy),
        labels={"changeover.deployment": deploy.uid},
        seconds=deploy.settings.migrate_seconds,
        say=deploy.say,
    )


def owners_secrets(deploy: Deploy) -> list[str]:
    """What lets a one-off container in a colour's place sign in as the tables' owner."""
    if not site.POSTGRES_LOGINS.are_kept_here:
        return []
    return [f"{deploy.settings.project}_secrets-owner:{DIRECTORY / OWNER}:ro"]
