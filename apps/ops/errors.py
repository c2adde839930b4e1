"""One exception root. Each kind says what happened to the traffic, and which exit code that is."""

from __future__ import annotations


class OpsError(Exception):
    """Something an operator has to know: what was found, what it means for traffic, what to type.

    Attributes:
        found: what was found, a sentence.
        next: the next command to type, or what to change first.
        output: the last lines of what failed, for the operator's eyes.
        traffic: what it means for the traffic; filled in by whoever knows (the runner).
    """

    exit_code = 1

    def __init__(self, found: str, *, next: str = "", output: str = "", traffic: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.next = next
        self.output = output
        self.traffic = traffic


class StepFailed(OpsError):
    """A step failed. Before the swap what was done is undone, after it this is a warning."""


class SwappedBack(OpsError):
    """It failed after the swap, and traffic was moved back."""

    exit_code = 3


class NobodyServed(OpsError):
    """Whatever is live, Caddy does not answer."""

    def __init__(self, found: str, *, next: str = "", output: str = "") -> None:
        traffic = "Visitors are not served: Caddy does not answer."
        super().__init__(found, next=next, output=output, traffic=traffic)


class Busy(OpsError):
    """Another deployment holds the lock."""

    exit_code = 4


class Frozen(OpsError):
    """Deployments are frozen."""

    exit_code = 4


class Refused(OpsError):
    """A gate says no: an unknown or dirty ref, a failed check, no room."""

    exit_code = 5


class Interrupted(OpsError):
    """Its process ended without a word, and another one undid it."""


class Cancelled(OpsError):
    """Somebody asked to stop before the swap; what was done is undone."""

    exit_code = 130
