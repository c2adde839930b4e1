from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops import postgres
from apps.ops.edge.files import Edge
from apps.ops.errors import OpsError
from apps.ops.management.base import OpsCommand
from apps.ops.models import Packages, Release
from apps.ops.stack.engine import Engine
from apps.ops.stack.inventory import Inventory, cyclonedx

LEAST_DIGITS = 4


class Command(OpsCommand):
    help = (
        "The packages in a release's image, as a software bill of materials in CycloneDX (JSON). "
        "Exit code 0, or 1 when there is none."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "release",
            nargs="?",
            metavar="RELEASE",
            help=f"A commit, {LEAST_DIGITS} digits or more. Default: the one that is live.",
        )

    def handle(self, *args: Any, release: str | None, **options: Any) -> None:
        try:
            with postgres.answering(without="The inventories of all releases are in it."):
                found = _find(release or _live())
                packages = Packages.objects.filter(release=found).first()
            if packages is None:
                raise OpsError(
                    f"Release {found.short} was built without an inventory of its packages.",
                    next=f"manage.py deploy {found.short} --refresh   # builds it with one",
                )
        except OpsError as error:
            self.tell(error)
            sys.exit(error.exit_code)
        bill = cyclonedx(
            Inventory.of(packages.inventory), name=settings.OPS.project, version=found.sha
        )
        self.stdout.json(bill, indent=2)


def _live() -> str:
    """Raises OpsError when nothing is."""
    service = Engine(settings.OPS.project).service(Edge(settings.OPS.edge_dir).live().service)
    if service is None or not service.release:
        raise OpsError("Nothing is live.", next="manage.py history   # then: manage.py sbom COMMIT")
    return service.release


def _find(commit: str) -> Release:
    """Raises OpsError when there is no such release, or more than one."""
    is_hex = len(commit) >= LEAST_DIGITS and not commit.strip("0123456789abcdef")
    found = list(Release.objects.filter(sha__startswith=commit)[:2]) if is_hex else []
    if len(found) != 1:
        many = "more than one release" if found else "no release"
        raise OpsError(f"{commit!r} means {many} of the history.", next="manage.py history")
    return found[0]
