from __future__ import annotations

from apps.ops.errors import Refused
from apps.ops.provision.remote_git import git
from apps.ops.provision.steps.base import Found, Step


class Clone(Step):
    """The checkout that deployments fetch into. One that is there is left as it is."""

    name = "clone"

    def look(self) -> Found:
        directory, wish = self.machine.directory, self.wish
        will = Found(False, f"Clone {wish.repository} into {directory}.")
        if not self.machine.has(directory):
            return will
        if not self.machine.has(f"{directory}/.git"):
            self._require_empty()
            return will
        origin = git(self.machine, ["remote", "get-url", "origin"], check=False)
        address = origin.output.strip()
        if origin.code == 0 and address != wish.repository:
            raise Refused(
                f"{directory} is a clone of {address}, not of {wish.repository}.",
                next=f"On the server, if it is meant: git -C {directory} remote set-url origin "
                f"{wish.repository}   # or name the other: --repository",
            )
        head = git(
            self.machine, ["rev-parse", "--quiet", "--verify", "--short", "HEAD"], check=False
        )
        if head.code:
            return will
        if origin.code:
            raise Refused(
                f"{directory} is a repository without a remote `origin`; what is in it is not ours "
                "to replace.",
                next=f"On the server, if it is meant: git -C {directory} remote add origin "
                f"{wish.repository}",
            )
        return Found(True, f"{directory} is a clone of {address}, at {head.output.strip()}.")

    def act(self) -> str:
        branch = self.wish.branch
        # Not `git clone`: the directory has the key already. Again after a cut: each may be there.
        git(self.machine, ["init", "--quiet", "--initial-branch", branch])
        if git(self.machine, ["remote", "get-url", "origin"], check=False).code:
            git(self.machine, ["remote", "add", "origin", self.wish.repository])
        git(self.machine, ["fetch", "--quiet", "origin"])
        git(self.machine, ["checkout", "--quiet", "-B", branch, "--track", f"origin/{branch}"])
        return f"Cloned {self.wish.repository} into {self.machine.directory}."

    def _require_empty(self) -> None:
        listed = self.machine.root(["ls", "-A", self.machine.directory]).output.split("\n")
        if others := [name for name in listed if name and name != ".ssh"]:
            raise Refused(
                f"{self.machine.directory} is no clone, and has files: {', '.join(others[:5])}.",
                next="Move them away on the server, or give OPS_SERVERS another directory.",
            )
