"""What each exit code of a deployment means, for every page and terminal."""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    word: str
    sentence: str


EXIT_CODES = {
    0: Meaning("live", "It went live."),
    1: Meaning("failed", "It failed; traffic never moved."),
    2: Meaning("usage", "The command was not understood; nothing was done."),
    3: Meaning("rolled back", "It failed after the swap and was rolled back by itself."),
    4: Meaning(
        "busy",
        "Another deployment held the lock, or deployments were frozen; nothing was done.",
    ),
    5: Meaning("refused", "A gate refused it; traffic never moved."),
    6: Meaning("live, with warnings", "It went live, with warnings."),
    130: Meaning("cancelled", "It was cancelled, and what it had done was undone."),
}
