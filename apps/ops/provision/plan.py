"""The steps in order, and the one way through them: look; then say what would be done, or do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.ops.errors import OpsError, StepFailed
from apps.ops.processes import Say
from apps.ops.provision.steps.base import Step

WIDTH = 12


@dataclass(frozen=True, slots=True)
class Tally:
    """How many steps were there already, and how many were done (or, in a plan, would be)."""

    there: int
    done: int


def walk(steps: Sequence[Step], *, only_look: bool, say: Say) -> Tally:
    """Go through the steps, and stop at the first surprise.

    Raises:
        OpsError: what was found where, and what to type. Steps before it stay done.
    """
    there = done = 0
    for step in steps:
        try:
            found = step.look()
            if found.there:
                there += 1
                say(f"{step.name:<{WIDTH}} there    {found.summary}")
                continue
            done += 1
            if only_look:
                say(f"{step.name:<{WIDTH}} will do  {found.summary}")
                continue
            say(f"{step.name:<{WIDTH}} …        {found.summary}")
            summary = step.act()
            after = step.look()
            if not after.there:
                raise StepFailed(
                    f"That was done, and yet: {after.summary}",
                    next="Look at it on the server; then the same command again.",
                )
            say(f"{step.name:<{WIDTH}} done     {summary}")
        except OpsError as error:
            error.found = f"{step.name}: {error.found}"
            error.next = error.next or "Put that right on the server; then the same command again."
            raise
    return Tally(there, done)
