"""Building a release's images with BuildKit, from what git has and nothing else."""

from __future__ import annotations

from typing import IO

from apps.ops import processes
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed, Say
from apps.ops.stack.engine import PROJECT_LABEL, RELEASE_LABEL


def build(
    context: IO[bytes],
    *,
    target: str,
    tag: str,
    project: str,
    release: str,
    seconds: float,
    say: Say,
) -> None:
    """Build one target of the Dockerfile in a tar stream and tag it.

    Raises:
        Refused: the disk is full.
        StepFailed: the build failed, or took longer than `seconds`.
    """
    labels = {
        PROJECT_LABEL: project,
        RELEASE_LABEL: release,
        "org.opencontainers.image.revision": release,
    }
    flags = [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    try:
        processes.run(
            ["docker", "buildx", "build", "--load", "--progress=plain", "--target", target]
            + ["--tag", tag, "--build-arg", f"RELEASE={release}", *flags, "-"],
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
