from __future__ import annotations

from django.db import DatabaseError
from django.db.models import Q

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.static_files import forget, remember, remembered, unnamed
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.static import check_old_assets, files_of, hashed_names
from apps.ops.errors import StepFailed
from apps.ops.models import Deployment
from apps.ops.processes import Say
from apps.ops.stack.engine import Engine
from apps.ops.stack.images import Images


class Prune(Step):
    """Remove the images and hashed files of old releases: ours only, and none that is in use or the
    way back. Before that, see that what the kept ones need is there."""

    name = "prune"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        try:
            keep = last_releases(deploy.plan.commit.sha, count=deploy.settings.keep_releases)
        except DatabaseError as error:
            raise StepFailed(
                "Postgres does not answer, so it is not known which releases are old.",
                next="nothing: the next deployment prunes",
            ) from error
        keep.add(deploy.plan.live_release)
        keep |= deploy.engine.releases_in_use()
        deploy.warnings += check_old_assets(deploy, keep)
        removed = remove_old_images(deploy.engine, keep, say=deploy.say)
        files = remove_old_files(deploy, keep)
        return (
            f"{removed} old image{'' if removed == 1 else 's'} and "
            f"{files} static file{'' if files == 1 else 's'} removed"
        )


def remove_old_images(engine: Engine, keep: set[str], *, say: Say) -> int:
    """Remove the images of releases outside `keep`, and those that a refresh took the place of; how
    many there were."""
    removed = 0
    for release, tags in engine.releases_with_images().items():
        if release not in keep:
            for tag in tags:
                engine.untag(tag)
            say(f"removed the image of {release[:12]}")
            removed += 1
    return removed + Images(engine.project).remove_untagged()


def remove_old_files(deploy: Deploy, keep: set[str]) -> int:
    """Remove the hashed files that only releases outside `keep` name; how many there were."""
    settings = deploy.settings
    names = remembered(settings.state_dir)
    if not names.keys() - keep:
        return 0
    # One from before names were written down: what it names is only known to its image.
    for release in (keep & deploy.engine.releases_with_images().keys()) - names.keys():
        names[release] = hashed_names(files_of(deploy, release))
        remember(settings.state_dir, release, names[release])
    removed = 0
    for name in unnamed(names, keep):
        path = settings.static_dir / name
        removed += path.exists()
        path.unlink(missing_ok=True)
    # After the files: killed in between, the next deployment still knows them.
    for release in names.keys() - keep:
        forget(settings.state_dir, release)
    return removed


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
