"""The server's checkout: is it as it was committed, and what does the remote have?"""

from __future__ import annotations

from time import monotonic

from apps.ops.conf import OpsSettings
from apps.ops.edge.files import Edge
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Figure, Result, bad, good, unknown
from apps.ops.processes import ProgramFailed
from apps.ops.source import Checkout
from apps.ops.stack.engine import Engine, EngineAway

ENGINE_SECONDS = 1.0
LEAST_SECONDS = 0.2


class _Checkout(Checkout):
    """git, with SECONDS for all its questions together."""

    def __init__(self, settings: OpsSettings) -> None:
        super().__init__(settings.checkout, remote=settings.remote, branch=settings.branch)
        self._deadline = monotonic() + SECONDS

    @property
    def _left(self) -> float:
        return max(self._deadline - monotonic(), LEAST_SECONDS)

    def head(self) -> str:
        return self.git.run("rev-parse", "HEAD", seconds=self._left)

    def changed(self) -> list[str]:
        return self.changed_files(seconds=self._left)

    def remote_head(self) -> str:
        """The branch's commit at the remote; "" when it has no such branch."""
        asked = self.git.run(
            "ls-remote", self.remote, f"refs/heads/{self.branch}", seconds=self._left
        )
        return asked.split("\t")[0]


def look(settings: OpsSettings) -> Result:
    path = settings.checkout
    if not (path / ".git").exists():
        return unknown(f"{path} is not a git checkout.", next="set OPS_CHECKOUT, or run it there")
    checkout = _Checkout(settings)
    live = _live_release(settings)
    figures: dict[str, Figure] = {"live": live[:12]} if live else {}
    try:
        head = checkout.head()
        figures["head"] = head[:12]
        changed = checkout.changed()
    except ProgramFailed as error:
        return unknown(f"The checkout cannot be read: {error.found}", next=f"git -C {path} status")
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return bad(
            f"{changed[0]}{more} in the checkout differ from what was committed: a deployment "
            "is refused.",
            next=f"git -C {path} diff --submodule=diff   # then commit it elsewhere, and put it "
            f"back: git -C {path} checkout ., in a submodule there",
            **figures,
        )
    try:
        remote = checkout.remote_head()
    except ProgramFailed:
        return unknown(
            f"The remote {settings.remote!r} does not answer.",
            next=f"git -C {path} ls-remote {settings.remote}   # as the checkout's owner",
        )
    if not remote:
        return bad(
            f"The remote {settings.remote!r} has no branch {settings.branch!r}: nothing can be "
            "deployed from it.",
            next="set OPS_BRANCH",
            **figures,
        )
    figures["remote"] = remote[:12]
    said = "The checkout is clean"
    if live and live != head:
        said += f", at {head[:12]} while {live[:12]} is live"
    if remote != (live or head):
        return good(f"{said}; {settings.branch} has {remote[:12]}, not deployed.", **figures)
    where = "live" if live else "checked out"
    return good(f"{said}; the newest of {settings.branch} is {where}.", **figures)


def _live_release(settings: OpsSettings) -> str:
    """ "" when Docker does not tell: what the checkout is does not depend on it."""
    try:
        service = Engine(settings.project, seconds=ENGINE_SECONDS).service(
            Edge(settings.edge_dir).live().service
        )
    except EngineAway:
        return ""
    return service.release if service else ""
