"""A repository beside the clone's own, which has all that the clone has and more."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from apps.ops import durable
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed, Say
from apps.ops.source.git import GIT_SECONDS, NO_LAZY_FETCH, Git, fsck
from apps.ops.source.submodules import shown

STORE = "changeover.git"
# A file is built as git has it, whatever a commit's .gitattributes leave out of archives, write
# into them or have a program of somebody's machine make of it.
_ATTRIBUTES = "* -export-ignore -export-subst -filter\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, symlink or submodule of a tree. `size` is 0 of a submodule."""

    mode: str
    oid: str
    size: int
    path: str

    @classmethod
    def parse(cls, line: str) -> Entry:
        facts, _, path = line.partition("\t")
        mode, _, oid, size = facts.split()
        return cls(mode, oid, 0 if size == "-" else int(size), path)

    @property
    def is_submodule(self) -> bool:
        return self.mode == "160000"

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"


class Store:
    """The commits of submodules, and the trees in which they stand, in the clone's `.git`.

    It reads the clone's objects as its own, and can be deleted: what is missing is fetched again.
    """

    def __init__(self, git: Git) -> None:
        self._git = git

    @cached_property
    def directory(self) -> Path:
        common = self._git.run("rev-parse", "--git-common-dir")
        return self._git.path / common / STORE

    def words(
        self, arguments: Sequence[str], env: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """The words and the environment with which `Git.command` runs there."""
        store = self.directory
        attributes = store / "info" / "attributes"
        if not attributes.exists():
            self._make(store, attributes)
        words = [f"--git-dir={store}", f"--work-tree={store}"]
        # The clone's own ways to its remotes, but not its choice of files.
        words += ["-c", f"include.path={store.parent / 'config'}"]
        words += ["-c", "core.sparseCheckout=false"]
        alternates = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store.parent / "objects")}
        return [*words, *arguments], {**alternates, **NO_LAZY_FETCH, **(env or {})}

    def _make(self, store: Path, attributes: Path) -> None:
        self._git.run("init", "--quiet", "--bare", "--template=", str(store))
        owner = self._git.path.stat()
        try:
            attributes.parent.mkdir(exist_ok=True)
            durable.write(attributes, _ATTRIBUTES)
            for path in (attributes.parent, attributes):
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise StepFailed(
                f"{attributes} could not be written: {error.strerror}.",
                next=f"df -h {self._git.path}   # is there room, and may it be written?",
            ) from error

    def run(
        self,
        *arguments: str,
        seconds: float = GIT_SECONDS,
        say: Say = lambda line: None,
        given: str = "",
        env: Mapping[str, str] | None = None,
    ) -> str:
        words, environment = self.words(arguments, env)
        return self._git.run(*words, seconds=seconds, say=say, given=given, env=environment)

    def has(self, oid: str) -> bool:
        try:
            self.run("cat-file", "-e", f"{oid}^{{commit}}")
        except ProgramFailed as error:
            if error.code is None:
                raise
            return False
        return True

    def entries(self, commit: str) -> list[Entry]:
        listed = self.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        lines = [line for line in listed.split("\0") if line]
        if damaged := [line.partition("\t")[2] for line in lines if " BAD\t" in line]:
            raise StepFailed(
                f"git cannot read {shown(damaged[0])} of {commit[:12]}.", next=fsck(self._git)
            )
        return [Entry.parse(line) for line in lines]
