"""The server's clone: what it has, and where its working tree stands."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from apps.ops import processes
from apps.ops.errors import StepFailed
from apps.ops.processes import ProgramFailed, Say, TimedOut
from apps.ops.source.clone import require_whole_clone
from apps.ops.source.contents import Contents
from apps.ops.source.git import GIT_SECONDS, Git, fsck
from apps.ops.source.refs import Meaning, meanings
from apps.ops.source.submodules import shown, transports

SUBMODULE_SECONDS = 120.0
# Whoever reads an archive may have enough before its end: SIGPIPE then ends git.
ENDS = (0, -signal.SIGPIPE)
_FIELDS = "%H%x1f%an%x1f%cI%x1f%s"


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    author: str
    committed_at: datetime
    subject: str

    @property
    def short(self) -> str:
        return self.sha[:12]

    @classmethod
    def parse(cls, line: str) -> Commit:
        sha, author, date, subject = line.split("\x1f", 3)
        return cls(sha, author, datetime.fromisoformat(date), subject)


@dataclass(frozen=True, slots=True)
class Signature:
    """`good`: by an allowed signer. `output` is what git says of it."""

    good: bool
    output: str


class Checkout:
    """The server's clone of the project."""

    def __init__(self, path: Path, *, remote: str, branch: str) -> None:
        self.path = path
        self.remote = remote
        self.branch = branch
        self.git = Git(path)
        self.contents = Contents(self.git, remote=remote)

    def fetch(self, *, seconds: float, say: Say) -> None:
        """Bring the remote's branches and tags here; the working tree is not touched.

        Raises:
            Refused: git keeps what it needs of this clone elsewhere.
            StepFailed: there is no checkout, or the remote did not answer.
        """
        require_whole_clone(self.git, remote=self.remote)
        try:
            self.git.run(
                *("fetch", "--prune", "--tags", "--force", "--no-recurse-submodules", self.remote),
                # Also in a clone of a single branch.
                f"+refs/heads/*:refs/remotes/{self.remote}/*",
                seconds=seconds,
                say=say,
            )
        except ProgramFailed as error:
            late = isinstance(error, TimedOut)
            why = f": it timed out and was ended after {seconds:g} s" if late else ""
            raise StepFailed(
                f"git could not fetch from the remote {self.remote!r}{why}.",
                output=error.output,
                next=f"git -C {self.path} fetch {self.remote}   # as the checkout's owner",
            ) from error

    def bring(self, sha: str, *, seconds: float, say: Say) -> None:
        """Fetch what a commit needs beside itself. Raises Refused and StepFailed: Contents.bring"""
        self.contents.bring(sha, seconds=seconds, say=say)

    def resolve(self, ref: str | None) -> str:
        """The commit that a branch or tag of the remote, or a SHA, means; the main branch for None.

        Raises:
            Refused: no such commit, or several.
        """
        return self.meanings(f"refs/heads/{self.branch}" if ref is None else ref)[0].sha

    def meanings(self, ref: str) -> list[Meaning]:
        """The names of the one commit that it means. Raises Refused as `resolve`."""
        return meanings(self.git, ref, remote=self.remote)

    def commit(self, sha: str) -> Commit:
        return Commit.parse(self.git.run("show", "--no-patch", f"--format={_FIELDS}", sha))

    def commits_between(self, old: str | None, new: str, *, limit: int) -> tuple[list[Commit], int]:
        """What `new` brings over `old`, newest first, and how many there are in all."""
        span = f"{old}..{new}" if old and self.has(old) else new
        total = int(self.git.run("rev-list", "--count", span))
        log = self.git.run("log", f"--max-count={limit}", f"--format={_FIELDS}", span)
        return [Commit.parse(line) for line in log.split("\n") if line], total

    def has(self, sha: str) -> bool:
        return self.git.ask("cat-file", "-e", f"{sha}^{{commit}}") is not None

    def left_behind(self, sha: str, live: str | None) -> list[str]:
        """What is here and is not in a commit that is about to be live, a sentence each."""
        found = []
        live = live if live and self.has(live) else None
        left = int(self.git.run("rev-list", "--count", f"{sha}..{live}")) if live else 0
        if live and left and self.git.ask("merge-base", "--is-ancestor", sha, live) is None:
            found.append(
                f"{_commits(left)} in the live release {live[:12]} and not in {sha[:12]}: that is "
                "of another branch, or the remote was rewritten."
            )
        there = [f"--remotes={self.remote}", "--tags", sha, *([live] if live else [])]
        own = self.git.ask("rev-list", "--count", "HEAD", "--not", *there)
        if own and (count := int(own)):
            found.append(
                f"{_commits(count)} in the checkout and on no branch or tag of {self.remote!r}, so "
                f"not deployed: git -C {self.path} log HEAD --not --remotes"
            )
        return found

    def is_on(self, sha: str, patterns: Sequence[str]) -> bool:
        """Whether a branch of the remote whose name fits one of the patterns has this commit."""
        prefix = f"refs/remotes/{self.remote}/"
        format_ = f"--format=%(refname:lstrip={prefix.count('/')})"
        branches = self.git.run("for-each-ref", format_, f"--contains={sha}", prefix).splitlines()
        return any(fnmatchcase(name, p) for name in branches if name != "HEAD" for p in patterns)

    def annotated_tags(self, sha: str) -> list[str]:
        """The tags at a commit that are objects of their own, under the name that they were given.

        Whoever may push can put a signed tag under another name as well: that one does not count.
        """
        fields = "--format=%(objecttype) %(tag) %(refname:lstrip=2)"
        lines = self.git.run(
            "for-each-ref", fields, f"--points-at={sha}", "refs/tags/"
        ).splitlines()
        found = (line.split(" ") for line in lines)
        return [name for kind, own, name in found if kind == "tag" and own == name]

    def verify_commit(self, sha: str, signers: Path) -> Signature:
        return self._verify("verify-commit", sha, signers)

    def verify_tag(self, name: str, signers: Path) -> Signature:
        return self._verify("verify-tag", f"refs/tags/{name}", signers)

    def _verify(self, verb: str, name: str, signers: Path) -> Signature:
        # Said on the command line, which outranks the repository's configuration: that belongs to
        # the checkout's owner, and other kinds of signatures know other signers.
        config = {
            "gpg.ssh.allowedSignersFile": str(signers),
            "gpg.ssh.program": "ssh-keygen",
            "gpg.minTrustLevel": "fully",
            "gpg.program": "false",
            "gpg.openpgp.program": "false",
            "gpg.x509.program": "false",
        }
        options = [part for key, value in config.items() for part in ("-c", f"{key}={value}")]
        said: list[str] = []
        try:
            self.git.run(*options, verb, "--raw", name, say=said.append)
        except ProgramFailed as error:
            return Signature(False, error.output)
        return Signature(bool(said), "\n".join(said))

    def changed_files(self, *, seconds: float = GIT_SECONDS) -> list[str]:
        """Tracked files that differ from the checked-out commit, also in submodules.

        A submodule that only stands at another commit of its remote is none: nobody changed it.
        """
        # Without the lock on the index, which somebody's git may want at this moment.
        status = self.git.run(
            *("--no-optional-locks", "status", "--porcelain=v2", "-z", "--untracked-files=no"),
            *("--no-renames", "--ignore-submodules=none"),
            seconds=seconds,
            strip=False,
        )
        return [path for path in map(self._changed, status.split("\0")) if path]

    def _changed(self, line: str) -> str:
        """What a line of `git status` says was changed; "" when nothing was."""
        kind, *fields = line.split(" ", 10 if line.startswith("u") else 8)
        if kind not in ("1", "u"):
            return ""
        state, submodule, path = fields[0], fields[1], fields[-1]
        if state == ".M" and submodule.startswith("SC") and "M" not in submodule:
            own = self.git.ask(
                "-C", path, "rev-list", "--max-count=1", "HEAD", "--not", "--remotes"
            )
            return f"{shown(path)} (commits of its own)" if own else ""
        if state == ".M" and submodule in ("S..U", "SC.U"):
            return ""
        return shown(path) + (" (a submodule)" if submodule.startswith("S") else "")

    def absent(self, paths: Sequence[str]) -> list[str]:
        """Tracked files below these paths that a sparse checkout leaves out."""
        listed = self.git.run("ls-files", "-t", "-z", "--", *paths)
        return [shown(line[2:]) for line in listed.split("\0") if line.startswith("S ")]

    def file(self, sha: str, path: str) -> str | None:
        """A file as the commit has it; None when it does not have it."""
        return self.git.ask("show", f"{sha}:{path}", strip=False)

    def files(self, sha: str) -> list[str]:
        return self.contents.files(sha)

    @contextmanager
    def archive(self, sha: str, *paths: str) -> Iterator[IO[bytes]]:
        """The commit's tree as a tar stream: what is built is what git has, nothing else.

        Args:
            paths: only what lies there.

        Raises:
            StepFailed: git could not finish it, so what was read was not all.
        """
        mtime = self.commit(sha).committed_at.isoformat()
        argv, env, owner = self.contents.archive(self.contents.tree(sha), paths, mtime=mtime)
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                argv,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                user=owner[0],
                group=owner[1],
                extra_groups=[],
                start_new_session=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                yield process.stdout
            except Exception as error:
                # Whoever read what was not whole says something else of it.
                if (code := _end(process)) not in ENDS:
                    raise self._not_whole(sha, code, errors) from error
                raise
            except BaseException:
                process.kill()
                raise
            if (code := _end(process)) not in ENDS:
                raise self._not_whole(sha, code, errors)

    def _not_whole(self, sha: str, code: int | None, errors: IO[bytes]) -> StepFailed:
        how = "it timed out" if code is None else f"exit code {code}"
        errors.seek(0)
        return StepFailed(
            f"git could not read the whole of {sha[:12]} ({how}).",
            output=errors.read(processes.MAX_OUTPUT).decode(errors="replace"),
            next=fsck(self.git),
        )

    def move_to(self, sha: str, *, again: bool = False) -> str:
        """Let the working tree follow what is live: along its branch if it can, else detached.

        Args:
            again: the first try may have been killed; git then leaves its lock, and files of two
                commits. The tree was clean before.

        Returns:
            Why it left its branch, a sentence; "" when it did not.

        Raises:
            StepFailed: something is in its way.
        """
        if again:
            (self.path / self.git.run("rev-parse", "--git-path", "index.lock")).unlink(
                missing_ok=True
            )
            self.git.run("reset", "--hard", "--quiet")
        said = ""
        own = f"refs/heads/{self.branch}"
        if self.git.ask("symbolic-ref", "--quiet", "HEAD") == own:
            self.git.ask("merge", "--ff-only", "--quiet", sha)
            if count := int(self.git.run("rev-list", "--count", f"{sha}..{own}")):
                said = (
                    f"The checkout left its branch {self.branch}: {_commits(count)} on it and not "
                    f"in {sha[:12]}: git -C {self.path} log {sha[:12]}..{own}"
                )
        try:
            if self.git.run("rev-parse", "HEAD") != sha:
                self.git.run("checkout", "--quiet", "--detach", sha)
        except ProgramFailed as error:
            # A hook may fail when all is done: of git-lfs, say, which is not here.
            if self.git.ask("rev-parse", "HEAD") != sha:
                raise StepFailed(
                    f"The checkout did not follow to {sha[:12]}.",
                    output=error.output,
                    next=f"git -C {self.path} checkout --detach {sha[:12]}   # when what is in its "
                    "way is gone",
                ) from error
        self._move_submodules()
        return said

    def _move_submodules(self) -> None:
        """Those that somebody initialised: nothing is built from them."""
        if not (self.path / ".gitmodules").exists():
            return
        try:
            self.git.run(
                *transports(self.git, self.remote),
                *("submodule", "--quiet", "update", "--recursive", "--checkout"),
                seconds=SUBMODULE_SECONDS,
            )
        except ProgramFailed as error:
            raise StepFailed(
                "The submodules of the checkout did not follow; what is live has theirs.",
                output=error.output,
                next=f"git -C {self.path} submodule sync --recursive && git -C {self.path} "
                "submodule update --recursive",
            ) from error


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of what nobody reads any more; None when it had to be killed."""
    assert process.stdout is not None
    process.stdout.close()
    try:
        return process.wait(GIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def _commits(count: int) -> str:
    return f"{count} commit{' is' if count == 1 else 's are'}"
