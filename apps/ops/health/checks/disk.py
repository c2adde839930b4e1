"""Room: where Docker keeps its images and volumes, and wherever this stack writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from django.conf import settings as django

from apps.ops.conf import OpsSettings
from apps.ops.health.result import Figure, Result, bad, good

NEXT = "docker system df   # then: docker builder prune; df -h"


def look(settings: OpsSettings) -> Result:
    places = {
        # Docker's root cannot be seen from inside a container, but its own root lies on that disk.
        "docker": Path("/"),
        "state": settings.state_dir,
        "backups": settings.backup_dir,
        "static": settings.static_dir,
        "edge": settings.edge_dir,
        "media": Path(django.MEDIA_ROOT),
        "checkout": settings.checkout,
    }
    figures: dict[str, Figure] = {}
    fullest, percent, what = "", -1.0, ""
    docker_free, most_inodes = 0, 0.0
    for name, path in places.items():
        try:
            used, inodes, free = _measure(path, written=name not in ("docker", "checkout"))
        except FileNotFoundError:
            continue  # Nothing was kept there yet, or this is not the utility container.
        except OSError as error:
            return bad(
                f"{path} ({name}) cannot be used: {error.strerror}.", next="df -h", **figures
            )
        figures[f"{name}_percent"] = round(used, 1)
        most_inodes = max(most_inodes, inodes)
        if name == "docker":
            docker_free = round(free / 1e6)
        if used > percent:
            fullest, percent, what = f"{path} ({name})", used, "full"
        if inodes > percent:
            fullest, percent, what = f"{path} ({name})", inodes, "used up in inodes"
    figures |= {"inodes_percent": round(most_inodes, 1), "docker_free_mb": docker_free}
    if percent >= settings.health_disk_percent:
        return bad(f"{fullest} is {percent:.0f} % {what}.", next=NEXT, **figures)
    if docker_free < settings.min_free_mb:
        return bad(
            f"{docker_free} MB are free where Docker keeps its images: a deployment wants "
            f"{settings.min_free_mb} and is refused.",
            next=NEXT,
            **figures,
        )
    return good(f"{fullest} is the fullest: {percent:.0f} % {what}.", **figures)


def _measure(path: Path, *, written: bool) -> tuple[float, float, int]:
    """Used per cent of its disk's room and of its inodes, as df counts, and the free bytes.

    Args:
        written: what has to be written to: a disk that the kernel has made read-only is an error.
    """
    disk = os.statvfs(path)
    if written and disk.f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    used = disk.f_blocks - disk.f_bfree
    room = used + disk.f_bavail  # What is kept back for root is nobody else's.
    # Some file systems make inodes as they are wanted and say 0.
    inodes = 100 * (1 - disk.f_favail / disk.f_files) if disk.f_files else 0.0
    return 100 * used / room if room else 0.0, inodes, disk.f_bavail * disk.f_frsize
