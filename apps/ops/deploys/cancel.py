"""Ask the deployment that runs to stop, and see how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from apps.ops.deploys import journal
from apps.ops.deploys.lock import Holding, held_by
from apps.ops.deploys.story import Story
from apps.ops.errors import OpsError
from apps.ops.stack.engine import Engine

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who was asked; whether they have let go of the lock; what their journal tells, if it does."""

    asked: Holding
    freed: bool
    story: Story | None

    @property
    def too_late(self) -> bool:
        """It was past the swap: what runs is live, or goes live."""
        story = self.story
        if story is None or not story.swapped_at:
            return False
        # Swapped, and ended in the way of one that never was live: the bake moved it back.
        return story.ended is None or story.ended.get("exit_code") in (0, 6)


def cancel(
    state_dir: Path, engine: Engine, *, seconds: float = PATIENCE_SECONDS
) -> Cancellation | None:
    """Send SIGTERM to the container of whoever holds the lock, and wait for its end.

    Returns:
        None when nobody deploys.

    Raises:
        OpsError: it runs in no container that can be reached; nothing was sent.
        EngineAway: Docker does not answer; nothing was sent.
    """
    holding = held_by(state_dir)
    if holding is None:
        return None
    if not holding.container or not engine.signal(holding.container, "SIGTERM"):
        raise OpsError(
            f"{_who(holding)} holds the lock and runs in no container here: it is not for this "
            "command to end.",
            next=_by_hand(holding),
        )
    deadline = monotonic() + seconds
    while (freed := held_by(state_dir) != holding) is False and monotonic() < deadline:
        sleep(LOOK_SECONDS)
    return Cancellation(holding, freed, _story(state_dir, holding.uid))


def _story(state_dir: Path, uid: str) -> Story | None:
    if not uid:
        return None
    try:
        return journal.read(state_dir / journal.DIRECTORY / f"{uid}.jsonl")
    except OSError:
        return None


def _who(holding: Holding) -> str:
    return holding.holder or "Somebody who did not say their name"


def _by_hand(holding: Holding) -> str:
    if not holding.pid:
        return "docker compose ps --all utility   # then docker stop what deploys"
    return f"kill -TERM {holding.pid}   # on {holding.container or 'the machine it runs on'}"
