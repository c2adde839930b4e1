from __future__ import annotations

import os

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.environment import missing_variables
from apps.ops.deploys.plan import has_images
from apps.ops.deploys.steps.base import Step
from apps.ops.errors import Refused
from apps.ops.stack.build import build


class Build(Step):
    """Build the release's images from `git archive`, once per commit."""

    name = "build"

    def run(self, deploy: Deploy) -> str:
        release = deploy.plan.commit.sha
        _require_variables(deploy)
        if has_images(deploy.engine, release):
            return "its image is there already"
        _require_room(deploy.settings.min_free_mb)
        for target, tag in (("app", release), ("utility", f"utility-{release}")):
            with deploy.checkout.archive(release) as context:
                build(
                    context,
                    target=target,
                    tag=f"{deploy.settings.project}:{tag}",
                    project=deploy.settings.project,
                    release=release,
                    seconds=deploy.settings.build_seconds,
                    say=deploy.say,
                )
        return f"{deploy.settings.project}:{release[:12]}…"


def _require_variables(deploy: Deploy) -> None:
    """Known without an image, so it need not wait for one."""
    commit = deploy.plan.commit
    if missing := missing_variables(deploy.checkout, commit.sha):
        raise Refused(
            f"Release {commit.short} needs {', '.join(missing)}, which .env does not set.",
            next=f"nano {deploy.settings.checkout / '.env'}   # .env.example describes them",
        )


def _require_room(min_free_mb: int) -> None:
    # This container's root lies on the file system that Docker keeps its images on.
    root = os.statvfs("/")
    free_mb = root.f_bavail * root.f_frsize // 1_000_000
    if free_mb < min_free_mb:
        raise Refused(
            f"There is no room for another image: {free_mb:,} MB free where Docker keeps them, "
            f"and OPS_MIN_FREE_MB asks for {min_free_mb:,}.",
            next="docker system df   # then make room: docker builder prune, docker image prune",
        )
