from __future__ import annotations

from django.db import DatabaseError
from django.db.models import Q

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import StepFailed
from apps.ops.models import Deployment


class Prune(Step):
    """Remove the images of old releases: ours only, and none that is in use or the way back."""

    name = "prune"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        try:
            keep = last_releases(deploy.plan.commit.sha, count=deploy.settings.keep_releases)
        except DatabaseError as error:
            raise StepFailed(
                "Postgres does not answer, so it is not known which images are old.",
                next="nothing: the next deployment prunes",
            ) from error
        keep.add(deploy.plan.live_release)
        keep |= deploy.engine.releases_in_use()
        removed = 0
        for release, tags in deploy.engine.releases_with_images().items():
            if release not in keep:
                for tag in tags:
                    deploy.engine.untag(tag)
                deploy.say(f"removed the image of {release[:12]}")
                removed += 1
        return f"{removed} old image{'' if removed == 1 else 's'} removed"


def last_releases(newest: str, *, count: int) -> set[str]:
    """The release that just went live and the `count - 1` others that last did before it."""
    # Also one whose process was killed after the swap.
    went_live = Q(status=Deployment.Status.SUCCEEDED) | Q(
        status=Deployment.Status.INTERRUPTED, swapped_at__isnull=False
    )
    shas = (
        Deployment.objects.filter(went_live, release__isnull=False)
        .order_by("-id")
        .values_list("release__sha", flat=True)
    )
    found = {newest}
    for sha in shas.iterator():
        if len(found) >= count:
            break
        found.add(sha)
    return found
