from __future__ import annotations

import os

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import missing_variables
from apps.ops.deploys.plan import has_images
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import Refused
from apps.ops.source import Checkout, Commit
from apps.ops.stack import inventory
from apps.ops.stack.build import base_images, build
from apps.ops.stack.images import Images

TARGETS = ("app", "utility")
# Of more changed packages the rest is counted.
SHOWN = 50


class Build(Step):
    """Build the release's images from `git archive`, once per commit, or anew when asked."""

    name = "build"

    def run(self, deploy: Deploy) -> str:
        release, refresh = deploy.plan.commit.sha, deploy.options.refresh
        require_variables(deploy.checkout, deploy.plan.commit)
        if has_images(deploy.engine, release) and not refresh:
            return "its image is there already"
        require_room(deploy.settings.min_free_mb)
        # Before: a refresh of what is live gives its name to another image.
        live = inventory.read(deploy.engine, deploy.plan.live_release or release)
        if refresh:
            _pull_base_images(deploy)
        for target, tag in zip(TARGETS, (release, f"utility-{release}"), strict=True):
            with deploy.checkout.archive(release) as context:
                build(
                    context,
                    target=target,
                    tag=f"{deploy.settings.project}:{tag}",
                    project=deploy.settings.project,
                    release=release,
                    seconds=deploy.settings.build_seconds,
                    say=deploy.say,
                    cache=not refresh,
                )
        deploy.inventory = inventory.read(deploy.engine, release)
        summary = f"{deploy.settings.project}:{release[:12]}…"
        if live is None or deploy.inventory is None:
            return summary
        return f"{summary}, {_tell_changes(deploy, live, deploy.inventory)}"


def _pull_base_images(deploy: Deploy) -> None:
    """What cannot be pulled is built on as it is here: the packages are new all the same."""
    dockerfile = deploy.checkout.file(deploy.plan.commit.sha, "Dockerfile") or ""
    images = Images(deploy.settings.project)
    for image in base_images(dockerfile, TARGETS):
        deploy.say(f"pulling {image}")
        if why := images.pull(image, seconds=deploy.settings.build_seconds):
            deploy.warnings.append(
                f"{image} could not be pulled, so the release stands on the one that is here "
                f"({why}). Next: docker pull {image}"
            )


def _tell_changes(deploy: Deploy, live: inventory.Inventory, built: inventory.Inventory) -> str:
    changes = inventory.changes(live, built)
    tell = deploy.note if deploy.options.refresh else deploy.say
    for line in changes[:SHOWN]:
        tell(line)
    if len(changes) > SHOWN:
        tell(f"… and {len(changes) - SHOWN} more: manage.py sbom {deploy.plan.commit.short}")
    return f"{len(changes) or 'no'} package{'' if len(changes) == 1 else 's'} changed"


def require_variables(checkout: Checkout, commit: Commit) -> None:
    """Known without an image, so it need not wait for one. Raises Refused."""
    if missing := missing_variables(checkout, commit.sha):
        raise Refused(
            f"Release {commit.short} needs {', '.join(missing)}, which .env does not set.",
            next=f"nano {checkout.path / '.env'}   # .env.example describes them",
        )


def require_room(min_free_mb: int) -> None:
    """Raises Refused: there are fewer megabytes (of 10^6 bytes) where Docker keeps images."""
    # This container's root lies on the file system that Docker keeps its images on.
    root = os.statvfs("/")
    free_mb = root.f_bavail * root.f_frsize // 1_000_000
    if free_mb < min_free_mb:
        raise Refused(
            f"There is no room for another image: {free_mb:,} MB free where Docker keeps them, "
            f"and OPS_MIN_FREE_MB asks for {min_free_mb:,}.",
            next="docker system df   # then make room: docker builder prune, docker image prune",
        )
