"""Building a release's images with BuildKit, from what git has and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import IO

from apps.ops import processes
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed, Say
from apps.ops.stack.engine import PROJECT_LABEL
from apps.ops.stack.service import RELEASE_LABEL

_FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_COPY = re.compile(r"COPY\s+(?:--\S+\s+)*--from=(\S+)\s", re.IGNORECASE)


def base_images(dockerfile: str, targets: Sequence[str]) -> list[str]:
    """The images of others that building these targets begins with or copies from."""
    stages: dict[str, list[str]] = {}
    stage: list[str] = []
    for line in dockerfile.splitlines():
        if found := _FROM.match(line.strip()):
            stage = [found[1]]
            stages[found[2] or str(len(stages))] = stage
        elif found := _COPY.match(line.strip()):
            stage.append(found[1])
    todo, images = list(targets), []
    for name in todo:
        todo += [other for other in stages.get(name, ()) if other not in todo]
        if name not in stages and name not in images and name != "scratch" and "$" not in name:
            images.append(name)
    return images


def build(
    context: IO[bytes],
    *,
    target: str,
    tag: str,
    project: str,
    release: str,
    seconds: float,
    say: Say,
    cache: bool = True,
) -> None:
    """Build one target of the Dockerfile in a tar stream and tag it.

    Args:
        cache: whether what an earlier build made of the same instructions will do.

    Raises:
        Refused: the disk is full.
        StepFailed: the build failed, or took longer than `seconds`.
    """
    labels = {
        PROJECT_LABEL: project,
        RELEASE_LABEL: release,
        "org.opencontainers.image.revision": release,
    }
    fresh = [] if cache else ["--no-cache"]
    flags = [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    try:
        processes.run(
            ["docker", "buildx", "build", "--load", "--progress=plain", "--target", target]
            + ["--tag", tag, "--build-arg", f"RELEASE={release}", *fresh, *flags, "-"],
            stdin=context,
            seconds=seconds,
            say=say,
        )
    except ProgramFailed as error:
        if "no space left on device" in error.output:
            raise Refused(
                "There is no room for the image: the disk that Docker keeps images on is full.",
                output=error.output,
                next="docker system df   # then: docker image prune, docker builder prune",
            ) from error
        raise StepFailed(
            f"The image did not build ({error.found})",
            output=error.output,
            next=f"docker build --target {target} .   # in a clone of {release[:12]}",
        ) from error
