"""How a deployment ended, in words."""

from __future__ import annotations

from apps.ops.exits import EXIT_CODES
from apps.ops.models import Deployment


def word(deployment: Deployment) -> str:
    """What its status alone does not say: "refused", "busy", "cancelled"; or nothing."""
    meaning = EXIT_CODES.get(deployment.exit_code) if deployment.exit_code is not None else None
    return meaning.word if meaning and deployment.exit_code in (4, 5, 130) else ""


def sentence(deployment: Deployment) -> str:
    if deployment.status == Deployment.Status.QUEUED:
        return "It waits to be started."
    if deployment.status == Deployment.Status.RUNNING:
        return f"It runs; traffic has {'moved' if deployment.swapped_at else 'not moved yet'}."
    if deployment.exit_code in EXIT_CODES:
        return EXIT_CODES[deployment.exit_code].sentence
    if deployment.status == Deployment.Status.INTERRUPTED:
        # A process that is killed in the swap moves traffic and cannot say so.
        moved = "after traffic had moved" if deployment.swapped_at else "and no swap was recorded"
        return f"Its process ended without a word, {moved}."
    return f"{deployment.get_status_display().capitalize()}."
