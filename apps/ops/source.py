"""The code: git owns it, and this is the only code that runs git."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from apps.ops import processes
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed, Say

GIT_SECONDS = 30.0
_SHA = re.compile(r"[0-9a-f]{4,40}")
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
    """The server's clone of the project.

    git runs as the clone's owner, so that files it writes keep their owner. A deploy key and known
    hosts in `.ssh/` of the checkout are used when they are there.
    """

    def __init__(self, path: Path, *, remote: str, branch: str) -> None:
        self.path = path
        self.remote = remote
        self.branch = branch

    def fetch(self, *, seconds: float, say: Say) -> None:
        """Bring the remote's branches and tags here; the working tree is not touched.

        Raises:
            StepFailed: there is no checkout, or the remote did not answer.
        """
        if not (self.path / ".git").exists():
            raise StepFailed(
                f"{self.path} is not a git checkout.",
                next="run this from the root of the project's clone (docker compose passes it on "
                "as OPS_CHECKOUT)",
            )
        try:
            self._git(
                "fetch", "--prune", "--tags", "--force", self.remote, seconds=seconds, say=say
            )
        except ProgramFailed as error:
            raise StepFailed(
                f"git could not fetch from the remote {self.remote!r}.",
                output=error.output,
                next=f"git -C {self.path} fetch {self.remote}   # as the checkout's owner",
            ) from error

    def resolve(self, ref: str | None) -> str:
        """The commit that a branch or tag of the remote, or a SHA, means; the main branch for None.

        Raises:
            Refused: no such commit.
        """
        name = self.branch if ref is None else ref
        candidates = [f"refs/remotes/{self.remote}/{name}", f"refs/tags/{name}"]
        if _SHA.fullmatch(name):
            candidates.append(name)
        for candidate in candidates:
            try:
                return self._git("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}")
            except ProgramFailed:
                continue
        raise Refused(
            f"{name!r} is not a branch or tag of {self.remote!r}, nor a commit that it has.",
            next=f"git -C {self.path} branch --remotes   # what there is; push first, then deploy",
        )

    def commit(self, sha: str) -> Commit:
        return Commit.parse(self._git("show", "--no-patch", f"--format={_FIELDS}", sha))

    def commits_between(self, old: str | None, new: str, *, limit: int) -> tuple[list[Commit], int]:
        """What `new` brings over `old`, newest first, and how many there are in all."""
        span = f"{old}..{new}" if old and self.has(old) else new
        total = int(self._git("rev-list", "--count", span))
        log = self._git("log", f"--max-count={limit}", f"--format={_FIELDS}", span)
        return [Commit.parse(line) for line in log.split("\n") if line], total

    def has(self, sha: str) -> bool:
        try:
            self._git("cat-file", "-e", f"{sha}^{{commit}}")
        except ProgramFailed:
            return False
        return True

    def is_on(self, sha: str, patterns: Sequence[str]) -> bool:
        """Whether a branch of the remote whose name fits one of the patterns has this commit."""
        prefix = f"refs/remotes/{self.remote}/"
        format_ = f"--format=%(refname:lstrip={prefix.count('/')})"
        branches = self._git("for-each-ref", format_, f"--contains={sha}", prefix).splitlines()
        return any(fnmatchcase(name, p) for name in branches if name != "HEAD" for p in patterns)

    def annotated_tags(self, sha: str) -> list[str]:
        """The tags at a commit that are objects of their own, under the name that they were given.

        Whoever may push can put a signed tag under another name as well: that one does not count.
        """
        fields = "--format=%(objecttype) %(tag) %(refname:lstrip=2)"
        lines = self._git("for-each-ref", fields, f"--points-at={sha}", "refs/tags/").splitlines()
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
            self._git(*options, verb, "--raw", name, say=said.append)
        except ProgramFailed as error:
            return Signature(False, error.output)
        return Signature(bool(said), "\n".join(said))

    def changed_files(self) -> list[str]:
        """Tracked files that differ from the checked-out commit."""
        status = self._git("status", "--porcelain", "--untracked-files=no", strip=False)
        return [line[3:] for line in status.split("\n") if line]

    def file(self, sha: str, path: str) -> str | None:
        """A file as the commit has it; None when it does not have it."""
        try:
            return self._git("show", f"{sha}:{path}", strip=False)
        except ProgramFailed:
            return None

    def files(self, sha: str) -> list[str]:
        return self._git("ls-tree", "-r", "--name-only", sha).splitlines()

    @contextmanager
    def archive(self, sha: str, *paths: str) -> Iterator[IO[bytes]]:
        """The commit's tree as a tar stream: what is built is what git has, nothing else.

        Args:
            paths: only what lies there.

        Raises:
            StepFailed: git could not finish it, so what was read was not all.
        """
        # With the modes of a checkout: what `docker compose build` has built is found again.
        command = ("-c", "tar.umask=022", "archive", "--format=tar", sha, *paths)
        argv, env, owner = self._command(*command)
        with subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            user=owner[0],
            group=owner[1],
            extra_groups=[],
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
            process.stdout.close()
            # Whoever reads may have enough before the end (SIGPIPE then ends git).
            if (code := process.wait(GIT_SECONDS)) not in (0, -signal.SIGPIPE):
                raise StepFailed(
                    f"git could not read the whole of {sha[:12]} (exit code {code}).",
                    next=f"git -C {self.path} fsck   # is the checkout damaged, or the disk full?",
                )

    def move_to(self, sha: str, *, again: bool = False) -> None:
        """Let the working tree follow what is live: along its branch if it can, else detached.

        Args:
            again: the first try may have been killed; git then leaves its lock, and files of two
                commits. The tree was clean before.
        """
        if again:
            (self.path / ".git" / "index.lock").unlink(missing_ok=True)
            self._git("reset", "--hard", "--quiet")
        try:
            head = self._git("symbolic-ref", "--quiet", "--short", "HEAD")
        except ProgramFailed:
            head = ""
        if head == self.branch:
            with suppress(ProgramFailed):
                self._git("merge", "--ff-only", "--quiet", sha)
            if self._git("rev-parse", "HEAD") == sha:
                return
        self._git("checkout", "--quiet", "--detach", sha)

    def _git(
        self,
        *arguments: str,
        seconds: float = GIT_SECONDS,
        say: Say = lambda line: None,
        strip: bool = True,
    ) -> str:
        argv, env, owner = self._command(*arguments)
        output = processes.run(
            argv, seconds=seconds, say=say, env=env, owner=owner, merge_stderr=False
        )
        return output.strip("\n") if strip else output

    def _command(self, *arguments: str) -> tuple[list[str], dict[str, str], tuple[int, int]]:
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        keys = self.path / ".ssh"
        for key in (keys / "id_ed25519", keys / "id_rsa"):
            if key.exists():
                ssh += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
        if (keys / "known_hosts").exists():
            ssh += ["-o", f"UserKnownHostsFile={keys / 'known_hosts'}"]
        env = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            # A commit is the one that its name says, whatever refs/replace has.
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": str(self.path),
            "LC_ALL": "C.UTF-8",
        }
        owner = self.path.stat()
        return ["git", "-C", str(self.path), *arguments], env, (owner.st_uid, owner.st_gid)
