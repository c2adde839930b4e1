"""What a deployment would do, from what is there now. `deploy --plan` prints it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apps.ops.colors import Color
from apps.ops.dotenv import Changes

# Every process reads plans, for the admin; the Docker SDK is for the few that make them.
if TYPE_CHECKING:
    from apps.ops.edge.files import Edge
    from apps.ops.source import Checkout, Commit
    from apps.ops.stack.engine import Engine

MAX_COMMITS = 100
_MIGRATION = re.compile(r"(?:^|/)(\w+)/migrations/(?!__init__)(\w+)\.py$")


@dataclass(frozen=True, slots=True)
class Plan:
    """`live_release` is "" when the live colour has no container: a first deployment.
    `environment` are the names in which the candidate's differs from the live one's, None when that
    is not known."""

    commit: Commit
    live: Color
    live_release: str
    commits: Sequence[Commit] = field(default=())
    commits_total: int = 0
    image_exists: bool = False
    environment: Changes | None = None

    @property
    def candidate(self) -> Color:
        return self.live.other


def make_plan(ref: str | None, *, checkout: Checkout, engine: Engine, edge: Edge) -> Plan:
    """Read git, Docker and the edge; change nothing.

    Raises:
        Refused: `ref` is not known.
        EngineAway: Docker does not answer.
    """
    commit = checkout.commit(checkout.resolve(ref))
    live = edge.live()
    service = engine.service(live.service)
    live_release = service.release if service else ""
    commits, total = checkout.commits_between(live_release or None, commit.sha, limit=MAX_COMMITS)
    return Plan(
        commit=commit,
        live=live,
        live_release=live_release,
        commits=commits,
        commits_total=total,
        image_exists=has_images(engine, commit.sha),
    )


def has_images(engine: Engine, release: str) -> bool:
    return engine.is_ours(release) and engine.is_ours(f"utility-{release}")


def migration_files(files: Sequence[str]) -> list[tuple[str, str]]:
    """(app, name) of each migration among a commit's files, the app named as its folder is."""
    found = (_MIGRATION.search(file) for file in files)
    return sorted((match[1], match[2]) for match in found if match)
