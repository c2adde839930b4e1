from __future__ import annotations

from urllib.parse import quote, urljoin

from django.conf import settings as django_settings

from apps.ops import purges
from apps.ops.cdn.answers import CdnAway
from apps.ops.cdn.operations import Operation
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.static import files_of, plain_files
from apps.ops.errors import OpsError, StepFailed

# A deployment waits no longer for a CDN: it is live, and the command does the rest.
SECONDS = 60.0


class Purge(Step):
    """Purge at the CDN what changed without changing its name, and the pages of OPS_PURGE_PATHS.

    After the old colour's retirement: from then on the names mean the new release's files.
    """

    name = "purge"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        settings = deploy.settings
        if not settings.cloudflare_token:
            return "no CDN is set (OPS_CLOUDFLARE_TOKEN)"
        wanted = [purges.page(settings, path) for path in settings.purge_paths]
        wanted += changed_files(deploy)
        if not wanted:
            return "nothing changed without changing its name"
        asked = purges.Asked(
            reason=f"after the {deploy.kind} of {deploy.plan.commit.short}",
            deployment_uid=deploy.uid,
            seconds=SECONDS,
            say=deploy.say,
        )
        done = purges.purge_cdn(settings, wanted, asked)
        if done.number is None:
            deploy.say("Postgres does not answer: this purge is not recorded.")
        if done.error:
            rest = purges.rest_command(settings, done.left)
            raise StepFailed(
                f"{done.purged:,} of {done.total:,} were purged at the CDN: {done.error.found} "
                "Visitors may get old copies of the rest until they expire.",
                # What was refused is refused again until its cause is fixed.
                next=rest if isinstance(done.error, CdnAway) else f"{done.error.next}; then {rest}",
            )
        return f"{done.purged:,} purged at {done.where}"


def changed_files(deploy: Deploy) -> list[Operation]:
    """Static files whose name has no hash and whose content is not the one of the release before.

    Where Docker does not tell, all static files.
    """
    settings, before = deploy.settings, deploy.plan.live_release
    try:
        new = plain_files(deploy)
        is_known = bool(before) and deploy.engine.image_id(before) is not None
        old = files_of(deploy, before) if is_known else {}
    except OpsError as error:
        deploy.say(f"{error.found} All static files are purged.")
        return [purges.public(settings, "STATIC_URL")]
    names = sorted(name for name, content in new.items() if old.get(name) != content)
    return [
        purges.page(settings, urljoin(django_settings.STATIC_URL, quote(name))) for name in names
    ]
