"""What a commit holds, whole: with its submodules, and without what only points elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed, Say, TimedOut
from apps.ops.source.git import GIT_SECONDS, NO_LAZY_FETCH, Git, fsck
from apps.ops.source.pointers import pointers
from apps.ops.source.store import Store
from apps.ops.source.submodules import links_without_address, modules_of, shown, transports


class Contents:
    """The contents of a clone's commits."""

    def __init__(self, git: Git, *, remote: str) -> None:
        self._git = git
        self._remote = remote
        self._store = Store(git)

    def files(self, sha: str) -> list[str]:
        """Every file of the commit, and of its submodules as far as they are here."""
        # The way back asks this, too: the store is only needed for submodules.
        listed = self._git.run("ls-tree", "-r", "-z", "--full-tree", sha, env=NO_LAZY_FETCH)
        found = []
        for line in filter(None, listed.split("\0")):
            facts, _, path = line.partition("\t")
            _, kind, oid = facts.split()
            found += [path] if kind == "blob" else self._files_below(path, oid)
        return found

    def _files_below(self, path: str, commit: str) -> list[str]:
        if not self._store.directory.exists() or not self._store.has(commit):
            return []
        found = []
        for entry in self._store.entries(commit):
            name = f"{path}/{entry.path}"
            found += self._files_below(name, entry.oid) if entry.is_submodule else [name]
        return found

    def bring(self, sha: str, *, seconds: float, say: Say) -> None:
        """Fetch what the clone lacks of the commit, and see that it is the content itself.

        Args:
            seconds: for each repository.

        Raises:
            Refused: a submodule's commit cannot be had, or files are pointers to content that is
                kept elsewhere.
            StepFailed: the clone is damaged, or a remote did not answer.
        """
        self._complete(sha, seconds=seconds, say=say)
        tree = self.tree(sha, seconds=seconds, say=say)
        for what, files, advice in pointers(self._store, tree):
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            raise Refused(
                f"{', '.join(map(shown, files[:3]))}{more} in {sha[:12]}: {what}, not the "
                "content itself, and that is what the site would get.",
                next=f"{advice}, in your clone; then push, and deploy again",
            )

    def tree(self, sha: str, *, seconds: float = GIT_SECONDS, say: Say = lambda line: None) -> str:
        """What names the commit's content in the store: the commit, or a tree in which its
        submodules' files stand where a checkout has them."""
        remote = self._git.ask("config", "--get", f"remote.{self._remote}.url") or ""
        return self._joined(sha, remote, seconds=seconds, say=say)

    def archive(
        self, tree: str, paths: Sequence[str], *, mtime: str
    ) -> tuple[list[str], dict[str, str], tuple[int, int]]:
        """The words that write it as a tar stream, as `Git.command`."""
        # With the modes of a checkout: what `docker compose build` has built is found again.
        words = ("-c", "tar.umask=022", "archive", "--format=tar", f"--mtime={mtime}", tree, *paths)
        arguments, env = self._store.words(words)
        return self._git.command(*arguments, env=env)

    def _joined(self, commit: str, address: str, *, seconds: float, say: Say) -> str:
        links = {e.path: e.oid for e in self._store.entries(commit) if e.is_submodule}
        if not links:
            return commit
        modules = modules_of(
            self._store.run("config", "--blob", f"{commit}:.gitmodules", "-z", "--list")
            if self._store.run("ls-tree", commit, ".gitmodules")
            else "",
            address,
        )
        if homeless := [path for path in links if path not in modules]:
            raise links_without_address(homeless, commit)
        index = {"GIT_INDEX_FILE": str(self._store.directory / f"index-{secrets.token_hex(8)}")}
        try:
            self._store.run("read-tree", commit, env=index)
            for path, oid in links.items():
                module = modules[path]
                if not self._store.has(oid):
                    own = self._git.ask("config", "--get", f"submodule.{module.name}.url")
                    addresses = [module.address, *([own] if own else [])]
                    self._fetch(path, oid, addresses, of=commit, seconds=seconds, say=say)
                joined = self._joined(oid, module.address, seconds=seconds, say=say)
                gone = f"0 {'0' * 40}\t{path}\0"
                self._store.run("update-index", "-z", "--index-info", env=index, given=gone)
                self._store.run("read-tree", f"--prefix={path}/", joined, env=index)
            return self._store.run("write-tree", env=index)
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)

    def _fetch(
        self, path: str, oid: str, addresses: list[str], *, of: str, seconds: float, say: Say
    ) -> None:
        place = f"refs/submodules/{sha256(path.encode(errors='replace')).hexdigest()[:16]}"
        ways = ("--depth=1", f"+{oid}:{place}"), ("--no-tags", f"+refs/heads/*:{place}-heads/*")
        # A server may hand out only what its branches have.
        error: ProgramFailed | None = None
        for address in addresses:
            for option, what in ways:
                say(f"fetching submodule {path}")
                try:
                    self._store.run(
                        *transports(self._git, self._remote),
                        *("fetch", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no"),
                        *(option, "--", address, what),
                        seconds=seconds,
                        say=say,
                        env={"GIT_PROTOCOL_FROM_USER": "0"},
                    )
                except TimedOut as late:
                    raise StepFailed(
                        f"The submodule {shown(path)} could not be fetched: it timed out and was "
                        f"ended after {seconds:g} s.",
                        output=late.output,
                        next="set OPS_FETCH_SECONDS in .env higher, or try again",
                    ) from late
                except ProgramFailed as failed:
                    error = error or failed
                if self._store.has(oid):
                    return
        raise Refused(
            f"{of[:12]} wants commit {oid[:12]} of its submodule {shown(path)}, which could not be "
            "fetched.",
            output=error.output if error else "",
            next="git push --recurse-submodules=on-demand   # in your clone; or let the server's "
            "deploy key read that repository, too",
        ) from error

    def _complete(self, sha: str, *, seconds: float, say: Say) -> None:
        """A clone with a filter lacks files and trees until somebody asks for them."""
        before: set[str] = set()
        while missing := self._missing(sha):
            filtered = self._git.ask("config", "--get", f"remote.{self._remote}.promisor")
            if missing == before or filtered != "true":
                raise StepFailed(
                    f"The checkout lacks {len(missing)} of the objects of {sha[:12]}.",
                    next=fsck(self._git),
                )
            say(f"fetching {len(missing)} objects that this clone left out")
            try:
                self._git.run(
                    *("-c", "fetch.negotiationAlgorithm=noop", "fetch", "--no-tags"),
                    *("--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none"),
                    *("--stdin", self._remote),
                    given="\n".join(sorted(missing)) + "\n",
                    seconds=seconds,
                    say=say,
                )
            except ProgramFailed as error:
                late = " in time" if isinstance(error, TimedOut) else ""
                raise StepFailed(
                    f"The clone left {len(missing)} objects of {sha[:12]} with the remote "
                    f"{self._remote!r}, which did not give them{late}.",
                    output=error.output,
                    next=f"git -C {self._git.path} fetch --refetch --no-filter {self._remote}   "
                    "# makes the clone a whole one",
                ) from error
            before = missing

    def _missing(self, sha: str) -> set[str]:
        try:
            walked = self._git.run(
                *("rev-list", "--objects", "--no-walk", "--missing=print", sha), env=NO_LAZY_FETCH
            )
        except TimedOut:
            raise
        except ProgramFailed as error:
            raise StepFailed(
                f"git cannot read {sha[:12]}.",
                output=error.output,
                next=fsck(self._git),
            ) from error
        return {line[1:] for line in walked.splitlines() if line.startswith("?")}
