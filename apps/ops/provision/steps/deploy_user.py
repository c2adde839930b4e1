from __future__ import annotations

from collections.abc import Sequence

from apps.ops.errors import Refused
from apps.ops.provision.own_keys import plain_key
from apps.ops.provision.steps.base import Found, Step

GROUP = "docker"


class DeployUser(Step):
    """The user that deploys: may use Docker, lets in who may log in here, owns the checkout."""

    name = "deploy user"

    def look(self) -> Found:
        user, directory = self.machine.deploy_user, self.machine.directory
        if missing := ", ".join(self._missing()):
            return Found(False, f"{missing[0].upper()}{missing[1:]}.")
        return Found(
            True, f"{user} is in the group {GROUP}, has authorized keys, and owns {directory}."
        )

    def act(self) -> str:
        machine, user = self.machine, self.machine.deploy_user
        done = self._missing()
        if machine.home() is None:
            # "*" and not "!": nobody has that password, and sshd does not call the account locked.
            argv = ["useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", user]
            machine.root(argv)
        if not self._may_use_docker():
            machine.root(["usermod", "--append", "--groups", GROUP, user])
        home = machine.home()
        if not self._has_keys(home):
            _, keys = self._keys()
            own = ["-o", user, "-g", self._group()]
            machine.root(["install", "-d", "-m", "700", *own, f"{home}/.ssh"])
            path = f"{home}/.ssh/authorized_keys"
            machine.write(
                path,
                "".join(f"{key}\n" for key in keys),
                mode="600",
                owner=f"{user}:{self._group()}",
            )
        if not machine.has(machine.directory):
            argv = ["install", "-d", "-o", user, "-g", self._group(), machine.directory]
            machine.root(argv)
        return f"Done: {', '.join(done)}."

    def _missing(self) -> list[str]:
        user, directory = self.machine.deploy_user, self.machine.directory
        home = self.machine.home()
        missing = [] if home else [f"make the user {user}"]
        if not (home and self._may_use_docker()):
            missing.append(f"add {user} to the group {GROUP}")
        if not self._has_keys(home):
            whose, _ = self._keys()
            missing.append(f"let in as {user} {whose}")
        if not self.machine.has(directory):
            missing.append(f"make {directory}")
        elif (owner := self._owner()) != user:
            raise Refused(
                f"{directory} is there and belongs to {owner}, not to {user}.",
                next=f"On the server, if it is meant: sudo chown -R {user}: {directory}",
            )
        return missing

    def _may_use_docker(self) -> bool:
        user = self.machine.deploy_user
        if user == "root":
            return True
        return GROUP in self.machine.root(["id", "-nG", user]).output.split()

    def _has_keys(self, home: str | None) -> bool:
        # Who logged in as the deploy user needs no other way in.
        if self.machine.login == self.machine.deploy_user:
            return True
        return bool(home and (self.machine.read(f"{home}/.ssh/authorized_keys") or "").strip())

    def _keys(self) -> tuple[str, Sequence[str]]:
        """Whom to let in, and the lines that do. A fresh machine may have a password only."""
        login = self.machine.login
        text = self.machine.run(["cat", ".ssh/authorized_keys"], check=False).output
        if keys := [line for line in text.splitlines() if plain_key(line)]:
            return f"who may log in as {login}", keys
        if own := self.wish.own_keys:
            names = ", ".join(own.values())
            return f"the keys of this machine ({names}), {login} having none", list(own)
        raise Refused(
            f"{login} has no authorized keys that {self.machine.deploy_user} could have, too, and "
            "this machine has no key either: nobody could log in.",
            next="ssh-keygen -t ed25519   # on this machine; then the same command again",
        )

    def _owner(self) -> str:
        return self.machine.root(["stat", "-c", "%U", self.machine.directory]).output.strip()

    def _group(self) -> str:
        return self.machine.root(["id", "-gn", self.machine.deploy_user]).output.strip()
