from __future__ import annotations

import json
from typing import Any

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed

BASE_SERVICES = ("postgres", "redis", "caddy")
CHECK_SECONDS = 60.0


class Preflight(Step):
    """Everything that can be known to fail before anything is touched, asked in the new image."""

    name = "preflight"

    def __init__(self) -> None:
        self._tag: str | None = None
        self._before: str | None = None

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

        # From here on the idle colour's name means the new image; its container is not touched yet.
        self._tag = plan.candidate.value
        self._before = deploy.engine.image_id(self._tag)
        deploy.engine.tag(f"{settings.project}:{plan.commit.sha}", self._tag)

        report = self._ask(deploy)
        deploy.pending_migrations = report["migrations"]
        for warning in report["warnings"]:
            deploy.say(f"warning: {warning}")
        if errors := report["errors"]:
            raise Refused(
                f"Django's system checks of {plan.commit.short} found {len(errors)} error(s).",
                output="\n".join(errors),
                next="manage.py check --deploy   # in that release, with this .env",
            )
        count = len(deploy.pending_migrations)
        return f"checks passed, {count} migration{'' if count == 1 else 's'} to apply"

    def _bring_up_what_is_down(self, deploy: Deploy) -> None:
        found = {name: deploy.engine.service(name) for name in BASE_SERVICES}
        down = [name for name, s in found.items() if s is None or s.health != "healthy"]
        try:
            if down:
                deploy.compose().ensure(down, say=deploy.say)
        except ProgramFailed as error:
            raise StepFailed(
                f"{' and '.join(down)} did not become healthy.",
                output=error.output,
                next=f"docker compose logs {' '.join(down)}",
            ) from error

    def _ask(self, deploy: Deploy) -> dict[str, Any]:
        service = deploy.plan.candidate.service
        try:
            output = deploy.compose(deploy.plan.commit.sha).run(
                service,
                ["python", "manage.py", "preflight"],
                env={"ROLE": "preflight"},
                seconds=CHECK_SECONDS,
                say=lambda line: None,
                merge_stderr=False,
            )
            report: dict[str, Any] = json.loads(output.splitlines()[-1])
        except ProgramFailed as error:
            raise StepFailed(
                f"The release does not start: `manage.py preflight` failed in {service}'s place.",
                output=error.output,
                next="mend the release and deploy again; its last lines are above",
            ) from error
        except (ValueError, IndexError) as error:
            raise StepFailed(
                "`manage.py preflight` of the new release did not answer with JSON.",
                output=output[-2000:],
                next="mend the release and deploy again",
            ) from error
        return report

    def undo(self, deploy: Deploy) -> bool:
        if self._tag is None:
            return False
        if self._before:
            deploy.engine.tag(self._before, self._tag)
        else:
            deploy.engine.untag(self._tag)
        return True
