"""Only releases that somebody who may release has signed (OPS_REQUIRE_SIGNED).

The signatures are SSH's, and who may sign is told by a file in git's own format for allowed
signers. It lies on the server, outside of what is fetched: nobody lets themselves in with a commit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from apps.ops.conf import OpsSettings
from apps.ops.errors import Refused
from apps.ops.source import Checkout, Signature

COMMITS, TAGS = "commits", "tags"
_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})")


def require_signed(sha: str, *, checkout: Checkout, settings: OpsSettings) -> str:
    """Let only a commit pass that is signed as OPS_REQUIRE_SIGNED wants it.

    A signed commit vouches for all commits before it, as git's hashes do.

    Returns:
        Who signed it, for the deployment's output; "" when no signature is wanted.

    Raises:
        Refused: it is not signed, or not by an allowed signer; or that cannot be told.
    """
    wanted = settings.require_signed
    if not wanted:
        return ""
    if wanted not in (COMMITS, TAGS):
        raise Refused(
            f"OPS_REQUIRE_SIGNED is {wanted!r}, so it is not known what has to be signed.",
            next="set OPS_REQUIRE_SIGNED=commits or tags in .env, or leave it empty",
        )
    signers = _signers(sha, checkout=checkout, settings=settings)
    if wanted == COMMITS:
        return _judge(f"Commit {sha[:12]}", checkout.verify_commit(sha, signers), signers)
    tags = checkout.annotated_tags(sha)
    if not tags:
        raise Refused(
            f"No annotated tag of the remote is at {sha[:12]}, and OPS_REQUIRE_SIGNED=tags wants a "
            "signed one.",
            next=f"git tag --sign v1.2.3 {sha[:12]}   # then: git push origin v1.2.3",
        )
    refused = []
    for tag in tags:
        try:
            return _judge(f"Tag {tag}", checkout.verify_tag(tag, signers), signers)
        except Refused as error:
            refused.append(error)
    raise refused[0]


def _signers(sha: str, *, checkout: Checkout, settings: OpsSettings) -> Path:
    path = checkout.path / settings.allowed_signers
    there = "put the public keys of those who may release there, in the format of ssh-keygen(1)"
    try:
        inside = path.resolve().relative_to(checkout.path.resolve())
    except ValueError:
        pass
    else:
        # A checkout overwrites an ignored file with what a commit has.
        for commit in (sha, "HEAD"):
            if checkout.file(commit, inside.as_posix()) is not None:
                raise Refused(
                    f"{inside} is in {commit[:12]} itself: whoever may push could let themselves "
                    "in.",
                    next="take it out of git, or name another file as OPS_ALLOWED_SIGNERS",
                )
    try:
        if not path.read_text(errors="replace").strip():
            raise Refused(f"{path} is empty, so nobody may sign a release.", next=there)
    except OSError as error:
        raise Refused(
            f"Who may sign a release is not known: {path} cannot be read ({error.strerror}).",
            next=there,
        ) from error
    return path


def _judge(what: str, signature: Signature, signers: Path) -> str:
    if signature.good:
        return f"{what}: {signature.output.splitlines()[0]}"
    fingerprint = _FINGERPRINT.search(signature.output)
    if not fingerprint:
        known = signature.output.strip() and "no signature found" not in signature.output
        found = f"{what} {'has a bad signature' if known else 'is not signed with an SSH key'}."
    elif fingerprint[1] in _fingerprints(signers):
        found = (
            f"{what} is signed with a key ({fingerprint[0]}) that was not allowed at its time: "
            "its valid-after or valid-before excludes it."
        )
    else:
        found = f"{what} is signed with a key that {signers.name} does not have: {fingerprint[0]}."
    raise Refused(
        found,
        output=signature.output,
        next=f"git commit --amend --gpg-sign   # and push it anew; who may sign: {signers}",
    )


def _fingerprints(signers: Path) -> set[str]:
    return {*_of_keys(signers.read_text(errors="replace"))}


def _of_keys(text: str) -> Iterator[str]:
    for word in text.split():
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            continue
        yield base64.b64encode(sha256(key).digest()).decode().rstrip("=")
