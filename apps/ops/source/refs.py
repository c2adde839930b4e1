"""What a name that somebody types means: one commit, or it is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from apps.ops.errors import Refused, StepFailed
from apps.ops.source.git import Git, fsck

BRANCH, TAG, COMMIT = "branch", "tag", "commit"
SHOWN = 5
_SHA = re.compile(r"[0-9a-f]{4,40}")
_WHOLE_SHA = 40
# What git never lets into a name, and what it reads as more than one: `main~1`, `a..b`, `main@{1}`.
_NEVER_IN_A_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that a name means: a branch or tag of the remote, or a commit."""

    kind: str
    name: str
    sha: str

    @property
    def unmistakable(self) -> str:
        """How to say this and nothing else."""
        return {BRANCH: f"refs/heads/{self.name}", TAG: f"refs/tags/{self.name}"}.get(
            self.kind, self.sha
        )

    def __str__(self) -> str:
        if self.kind == COMMIT:
            return f"commit {self.sha[:12]}"
        return f"{self.kind} {self.name} at {self.sha[:12]}"


def meanings(git: Git, name: str, *, remote: str) -> list[Meaning]:
    """All that the name means, which is one commit.

    Raises:
        Refused: no such commit, or more than one.
        StepFailed: the clone is damaged.
    """
    found = [] if _NEVER_IN_A_NAME.search(name) else [*_find(git, name, remote)]
    if not found:
        raise Refused(
            f"{name!r} is not a branch or tag of {remote!r}, nor a commit that it has.",
            next=_what_there_is(git),
        )
    # The first of each commit.
    commits = list({meaning.sha: meaning for meaning in reversed(found)}.values())[::-1]
    if len(commits) > 1:
        more = f" and {len(commits) - SHOWN} more" if len(commits) > SHOWN else ""
        ways = [f"manage.py deploy {shlex.quote(m.unmistakable)}" for m in commits]
        raise Refused(
            f"{name!r} means {len(commits)} commits: "
            f"{', '.join(map(str, commits[:SHOWN]))}{more}. Say which one.",
            next="   # or: ".join(ways[:SHOWN]),
        )
    return found


def _readings(name: str, remote: str) -> list[tuple[str, str]]:
    """Each kind that it can be said of, with the name under which that is to be looked up."""
    of_the_remote = f"remotes/{remote}/"
    for prefix, kind in (
        ("refs/heads/", BRANCH),
        (f"refs/{of_the_remote}", BRANCH),
        ("refs/tags/", TAG),
    ):
        if name.startswith(prefix):
            return [(kind, name.removeprefix(prefix))]
    shorter = (
        *((prefix, BRANCH) for prefix in ("heads/", f"{remote}/", of_the_remote)),
        ("tags/", TAG),
    )
    return [
        *((BRANCH, name), (TAG, name)),
        *((kind, name.removeprefix(p)) for p, kind in shorter if name.startswith(p)),
    ]


def _find(git: Git, name: str, remote: str) -> Iterator[Meaning]:
    is_sha = _SHA.fullmatch(name.lower()) is not None
    if is_sha and len(name) == _WHOLE_SHA:
        sha = git.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        # Nobody takes its meaning from a whole SHA by giving a branch that name.
        if sha:
            yield Meaning(COMMIT, name, sha)
            return
    prefixes = {BRANCH: f"refs/remotes/{remote}/", TAG: "refs/tags/"}
    readings = {prefixes[kind] + short: (kind, short) for kind, short in _readings(name, remote)}
    # Not rev-parse, which reads more into a name: `v1-2-gabc1234` is commit abc1234 to it.
    there = git.ask("for-each-ref", "--format=%(objectname) %(refname)", *readings) or ""
    for line in there.splitlines():
        object_, _, ref = line.partition(" ")
        # The remote's HEAD is no branch: it says which one is.
        if ref not in readings or ref == f"{prefixes[BRANCH]}HEAD":
            continue
        kind, short = readings[ref]
        yield Meaning(kind, short, _commit_of(git, object_, f"{kind} {short}"))
    if is_sha and len(name) < _WHOLE_SHA:
        for sha in _beginning_with(git, name.lower()):
            yield Meaning(COMMIT, name, sha)


def _commit_of(git: Git, object_: str, what: str) -> str:
    if sha := git.ask("rev-parse", "--verify", "--quiet", f"{object_}^{{commit}}"):
        return sha
    if git.ask("cat-file", "-t", object_) in ("tag", "tree", "blob"):
        raise Refused(f"The {what} is not a commit's.", next=_what_there_is(git))
    raise StepFailed(
        f"The {what} is {object_[:12]}, which git cannot read.",
        next=fsck(git),
    )


def _beginning_with(git: Git, prefix: str) -> list[str]:
    """The commits whose SHA begins like that; git alone would prefer a ref of that name."""
    objects = git.ask("rev-parse", f"--disambiguate={prefix}")
    if not objects:
        return []
    kinds = git.run("cat-file", "--batch-check=%(objecttype) %(objectname)", given=objects + "\n")
    found = (line.split(" ") for line in kinds.splitlines())
    return [sha for kind, sha in found if kind == COMMIT]


def _what_there_is(git: Git) -> str:
    if git.ask("rev-parse", "--is-shallow-repository") == "true":
        return (
            f"git -C {git.path} fetch --unshallow   # older commits were left out of this clone; "
            "else push first, then deploy"
        )
    return f"git -C {git.path} branch --remotes   # what there is; push first, then deploy"
