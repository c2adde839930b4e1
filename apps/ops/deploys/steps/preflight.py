from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from apps.ops.deploys import standby
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import unreached
from apps.ops.deploys.steps.base import Step
from apps.ops.edge.follow import give_volumes
from apps.ops.edge.validate import require_valid
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import TAIL_LINES, ProgramFailed, Say
from apps.ops.redact import Redactor
from apps.ops.schema import words
from apps.ops.secret_files import write_all

BASE_SERVICES = ("postgres", "redis", "media", "caddy")
CHECK_SECONDS = 60.0


class Preflight(Step):
    """Everything that can be known to fail before anything is touched, asked in the new image."""

    name = "preflight"

    def run(self, deploy: Deploy) -> str:
        plan, settings = deploy.plan, deploy.settings
        compose = deploy.compose(plan.commit.sha)
        try:
            compose.check(deploy.say)
        except ProgramFailed as error:
            raise Refused(
                f"Compose cannot read the compose files of {plan.commit.short}.",
                output=error.output,
                next="docker compose config --quiet   # in a clone of it, with this .env",
            ) from error
        self._bring_up_what_is_down(deploy)
        if changes := require_valid(
            plan.commit.sha, settings=settings, checkout=deploy.checkout, compose=compose
        ):
            deploy.say(f"caddy: {changes}")
        given = compose.environment(plan.candidate.service)
        if names := write_all(given, os.environ, directory=settings.secrets_dir):
            deploy.say(f"written for web and worker: {', '.join(names)}")
        if lost := unreached(deploy.checkout, plan.commit.sha, settings.compose_files, given):
            deploy.note(
                f"Neither web nor worker gets {', '.join(lost)} of .env: "
                "name what they need under x-site in compose.prod.yml."
            )

        # From here on the idle colour's name means the new image.
        tag = plan.candidate.value
        deploy.intend("preflight", tag=tag, before=deploy.engine.image_id(tag))
        deploy.engine.tag(f"{settings.project}:{plan.commit.sha}", tag)

        with standby.giving_way(deploy, step=self.name):
            report = self._ask(deploy)
        migrations = report["migrations"]
        # A release from before the roles says nothing of them.
        rights = len(report.get("rights", ()))
        deploy.intend("preflight", migrations=migrations, known=report["known"], rights=rights)
        for warning in report["warnings"]:
            deploy.say(f"warning: {warning}")
        if errors := report["errors"]:
            raise Refused(
                f"Django's system checks of {plan.commit.short} found {len(errors)} error(s).",
                output="\n".join(errors),
                next="manage.py check --deploy   # in that release, with this .env",
            )
        # A first deployment has all of them: hundreds of lines, and nothing to fear for.
        tell = deploy.note if plan.live_release else deploy.say
        for migration in migrations:
            show(migration, tell)
        _require_order(report["refusals"])
        if plan.live_release and not (deploy.options.maintenance or deploy.options.allow_contract):
            require_expanding(migrations)
        count = len(migrations)
        return f"checks passed, {count} migration{'' if count == 1 else 's'} to apply"

    def _bring_up_what_is_down(self, deploy: Deploy) -> None:
        found = {name: deploy.engine.service(name) for name in BASE_SERVICES}
        down = [name for name, s in found.items() if s is None or s.health != "healthy"]
        try:
            # The checkout may be older than a service.
            down = [name for name in down if deploy.compose().has(name)]
            if found["caddy"] is None:
                give_volumes(deploy.compose(), deploy.say)
            if others := [name for name in down if name != "caddy"]:
                deploy.compose().ensure(others, say=deploy.say)
        except ProgramFailed as error:
            raise StepFailed(
                f"{' and '.join(others)} did not become healthy.",
                output=error.output,
                next=f"docker compose logs {' '.join(others)}",
            ) from error
        if "caddy" in down:
            # What it fell over may be what this release repairs.
            with suppress(ProgramFailed):
                deploy.compose().ensure(["caddy"], say=deploy.say)
            deploy.look_at_the_front_door()

    def _ask(self, deploy: Deploy) -> dict[str, Any]:
        service = deploy.plan.candidate.service
        try:
            output = deploy.compose(deploy.plan.commit.sha).run(
                service,
                ["python", "manage.py", "preflight"]
                + ([] if deploy.plan.live_release else ["--first"]),
                env={"ROLE": "preflight"},
                labels={"changeover.deployment": deploy.uid},
                seconds=CHECK_SECONDS,
                say=lambda line: None,
                merge_stderr=False,
            )
            # SQL can have a secret in it, and is shown and kept.
            report: dict[str, Any] = Redactor.from_environment().clean_all(
                json.loads(output.splitlines()[-1])
            )
        except ProgramFailed as error:
            raise StepFailed(
                f"The release does not start: `manage.py preflight` failed in {service}'s place.",
                output=error.output,
                next="fix the release and deploy again; its last lines are above",
            ) from error
        except (ValueError, IndexError) as error:
            raise StepFailed(
                "`manage.py preflight` of the new release did not answer with JSON.",
                output="\n".join(output.splitlines()[-TAIL_LINES:]),
                next="fix the release and deploy again",
            ) from error
        return report

    def undo(self, deploy: Deploy) -> bool:
        intended = deploy.intended("preflight")
        if intended is None:
            return False
        if intended["before"] and deploy.engine.has_image(intended["before"]):
            deploy.engine.tag(intended["before"], intended["tag"])
        else:
            deploy.engine.untag(intended["tag"])
        standby.put_back(deploy, step=self.name)
        return True


def show(migration: dict[str, Any], say: Say) -> None:
    """Say what a migration of the report is, with its SQL, and what is wrong with it."""
    say(f"{migration['name']}: {words.heading(migration)}")
    for line in words.details(migration):
        say(line)


def _require_order(refusals: list[str]) -> None:
    if refusals:
        raise Refused(
            refusals[0],
            output="\n".join(refusals[1:]),
            next="change the migrations, commit, and deploy again   # docs/migrations.md",
        )


def require_expanding(migrations: list[dict[str, Any]]) -> None:
    """Raises Refused when one would break the live release, which serves until the swap."""
    breaking = [m for m in migrations if m["phase"] == "before" and m["kind"] == "contract"]
    if not breaking:
        return
    first = breaking[0]
    operation = next(o for o in first["operations"] if o["kind"] == "contract")
    others = [m["name"] for m in breaking[1:]]
    raise Refused(
        f"{first['name']} breaks the live release ({operation['what']}): {operation['why']}. "
        f"{operation['advice']}.",
        output=f"So do {', '.join(others)}." if others else "",
        next="split it and deploy again, or accept a pause: manage.py deploy --maintenance",
    )
