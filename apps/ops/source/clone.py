"""Whether a clone is all there, as it is seen from here."""

from __future__ import annotations

from apps.ops.errors import Refused, StepFailed
from apps.ops.source.git import Git

_CLONE = "git clone URL DIRECTORY   # a clone of its own, and deploy from there"


def require_whole_clone(git: Git, *, remote: str) -> None:
    """Refuse a clone that keeps what is needed outside of its directory, which is all that a
    container sees of it.

    Raises:
        Refused: it is a worktree or borrows another clone's objects, and that one cannot be seen;
            it has no such remote, or commits that releases cannot be named by.
        StepFailed: it is no clone, or a damaged one.
    """
    path = git.path
    dot_git = path / ".git"
    if not dot_git.exists() and not dot_git.is_symlink():
        raise StepFailed(
            f"{path} is not a git checkout.",
            next="run this from the root of the project's clone (docker compose passes it on "
            "as OPS_CHECKOUT)",
        )
    common = git.ask("rev-parse", "--git-common-dir")
    if common is None and (dot_git.is_file() or dot_git.is_symlink()):
        raise Refused(
            f"{path} is a worktree or a submodule: its .git is in another directory, which cannot "
            "be seen from here.",
            next=_CLONE,
        )
    if common is None:
        raise StepFailed(
            f"git cannot read {path}.", next=f"git -C {path} status   # damaged? Clone it anew"
        )
    if git.ask("rev-parse", "--show-object-format") != "sha1":
        raise Refused(
            f"{path} names its commits by SHA-256, and a release is named by SHA-1 here.",
            next="git clone URL DIRECTORY   # of a repository made without --object-format=sha256",
        )
    objects = path / common / "objects"
    borrowed = objects / "info" / "alternates"
    lenders = borrowed.read_text(errors="replace").splitlines() if borrowed.exists() else []
    if gone := [lender for lender in lenders if lender and not (objects / lender).exists()]:
        raise Refused(
            f"{path} borrows objects from {gone[0]}, which cannot be seen from here: it was cloned "
            "with --shared or --reference.",
            next=f"git -C {path} repack -a -d && rm {borrowed}   # then it has all of them itself",
        )
    remotes = (git.ask("remote") or "").splitlines()
    if remote not in remotes:
        there = f"only {', '.join(remotes)}" if remotes else "nor any other"
        raise Refused(
            f"The checkout has no remote {remote!r}, {there}.",
            next=f"set OPS_REMOTE={remotes[0]} in .env"
            if remotes
            else f"git -C {path} remote add {remote} URL",
        )
