"""Running git in a clone, as the clone's owner and with the clone's keys."""

from __future__ import annotations

import math
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from apps.ops import processes
from apps.ops.processes import ProgramFailed, Say

GIT_SECONDS = 30.0
NO_LAZY_FETCH = {"GIT_NO_LAZY_FETCH": "1"}


class Git:
    """git in one clone.

    It runs as the clone's owner, so that files it writes keep their owner. A deploy key and known
    hosts in `.ssh/` of the clone are used when they are there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(
        self,
        *arguments: str,
        seconds: float = GIT_SECONDS,
        say: Say = lambda line: None,
        strip: bool = True,
        given: str = "",
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What git writes, whole.

        Args:
            given: what it reads from standard input.

        Raises:
            ProgramFailed: it failed; TimedOut when it hung.
        """
        argv, environment, owner = self.command(*arguments, env=env)
        with tempfile.TemporaryFile() as stdin:
            stdin.write(given.encode(errors="surrogateescape"))
            stdin.seek(0)
            try:
                output = processes.run(
                    argv,
                    seconds=seconds,
                    say=say,
                    stdin=stdin,
                    env=environment,
                    owner=owner,
                    merge_stderr=False,
                    max_output=math.inf,
                )
            except ProgramFailed as error:
                error.next = f"git -C {self.path} status   # as the clone's owner: does git answer?"
                raise
        return output.strip("\n") if strip else output

    def ask(
        self, *arguments: str, strip: bool = True, env: Mapping[str, str] | None = None
    ) -> str | None:
        """What git answers; None when it says no.

        Raises:
            ProgramFailed: it hung, or could not be started: that is no answer.
        """
        try:
            return self.run(*arguments, strip=strip, env=env)
        except ProgramFailed as error:
            if error.code is None:
                raise
            return None

    def command(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str], tuple[int, int]]:
        """The words, the environment, and the user and group to run as."""
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        keys = self.path / ".ssh"
        for key in (keys / "id_ed25519", keys / "id_rsa"):
            if key.exists():
                ssh += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
        if (keys / "known_hosts").exists():
            ssh += ["-o", f"UserKnownHostsFile={keys / 'known_hosts'}"]
        environment = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            # A commit is the one that its name says, whatever refs/replace has.
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            # A damaged clone is said, and not looked for further up.
            "GIT_CEILING_DIRECTORIES": str(self.path.parent),
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": str(self.path),
            # What a commit has of submodules is our own to bring (contents.py).
            "GIT_CONFIG_KEY_1": "submodule.recurse",
            "GIT_CONFIG_VALUE_1": "false",
            "LC_ALL": "C.UTF-8",
            **(env or {}),
        }
        owner = self.path.stat()
        argv = ["git", "-C", str(self.path), *arguments]
        return argv, environment, (owner.st_uid, owner.st_gid)


def fsck(git: Git) -> str:
    """What to type when git cannot read what should be there."""
    return f"git -C {git.path} fsck   # is it damaged, or the disk full? If damaged, clone it anew"
