"""What a name means to `deploy`, with real git: one commit, or it is refused with all it means."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from apps.ops.deploys import operations
from apps.ops.errors import Refused
from apps.ops.models import Deployment
from apps.ops.presenters.lines import Lines
from apps.ops.source import Checkout
from tests.conftest import Git, OpsSettingsFactory
from tests.servers import HUNG_SECONDS


def fetch(checkout: Checkout) -> None:
    checkout.fetch(seconds=HUNG_SECONDS, say=print)


NO_REFS = (
    *("--upload-pack=x", "-h", "--help", "--exec=id", "-"),
    *("a..b", "main..main", "main...main", "^main", "main^{tree}", "main:README", "main~1"),
    *("main\nmain", "main ", " main", "main\t", ".", "..", "/", "//", "@", "@{u}", "*", "?"),
    *("../../heads/main", "HEAD", "origin/HEAD", "HEAD~1", "main@{0}", "\udcff", "\0", "main/"),
    *("", "nowhere", "f" * 40, "0000", "x" * 5000, "mäin", "$(id)", "main;id", "'main'"),
)


def test_what_is_no_ref_of_the_remote_is_refused(checkout: Checkout) -> None:
    for ref in NO_REFS:
        with pytest.raises(Refused) as caught:
            checkout.resolve(ref)

        assert caught.value.exit_code == 5
        assert caught.value.found == (
            f"{ref!r} is not a branch or tag of 'origin', nor a commit that it has."
        )


@pytest.mark.django_db(transaction=True)
def test_a_ref_of_bytes_that_are_no_text_is_refused_and_recorded(
    git: Git, ops_settings: OpsSettingsFactory
) -> None:
    settings = ops_settings(checkout=git.checkout)

    outcome = operations.deploy("m\udcff\nain", settings=settings, presenter=Lines(sys.stdout))

    assert outcome.exit_code == 5
    assert Deployment.objects.get().ref == "m ain"


def test_a_branch_and_a_tag_of_one_name_are_refused_with_both_and_each_can_be_said(
    git: Git, checkout: Checkout
) -> None:
    git.run("checkout", "--quiet", "-b", "1.0")
    branch = git.push("On the branch")
    git.run("tag", "--annotate", "--message", "1.0", "1.0", git.first)
    git.run("push", "--quiet", "origin", "refs/tags/1.0", "refs/heads/main:refs/heads/other")
    fetch(checkout)

    with pytest.raises(Refused) as caught:
        checkout.resolve("1.0")

    assert caught.value.found == (
        f"'1.0' means 2 commits: branch 1.0 at {branch[:12]}, tag 1.0 at {git.first[:12]}. "
        "Say which one."
    )
    assert caught.value.next == (
        "manage.py deploy refs/heads/1.0   # or: manage.py deploy refs/tags/1.0"
    )
    for said in ("refs/heads/1.0", "heads/1.0", "origin/1.0", "refs/remotes/origin/1.0"):
        assert checkout.resolve(said) == branch
    for said in ("refs/tags/1.0", "tags/1.0"):
        assert checkout.resolve(said) == git.first
    with pytest.raises(Refused, match="is not a branch or tag"):
        checkout.resolve("tags/other")


def test_a_branch_and_a_tag_of_one_commit_are_no_riddle(git: Git, checkout: Checkout) -> None:
    git.run("push", "--quiet", "origin", "main:refs/heads/1.0", "main:refs/tags/1.0")
    fetch(checkout)

    assert checkout.resolve("1.0") == git.first


def test_without_a_name_the_main_branch_is_meant_also_when_a_tag_has_its_name(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second")
    git.run("push", "--quiet", "origin", f"{git.first}:refs/tags/main")
    fetch(checkout)

    assert checkout.resolve(None) == second
    with pytest.raises(Refused, match=r"means 2 commits: branch main at .*, tag main at"):
        checkout.resolve("main")


@pytest.mark.parametrize("kind", ["heads", "tags"])
def test_a_name_that_is_also_the_beginning_of_a_commit_is_refused_and_the_whole_sha_is_not(
    git: Git, checkout: Checkout, kind: str
) -> None:
    short, second = git.first[:7], git.push("Second")
    git.run("push", "--quiet", "origin", f"{second}:refs/{kind}/{short}")
    git.run("push", "--quiet", "origin", f"{second}:refs/{kind}/{git.first}")
    # git would take this one for the commit.
    git.on_server("branch", short, git.first)
    fetch(checkout)

    with pytest.raises(Refused, match=rf"means 2 commits: .* at {second[:12]}, commit") as caught:
        checkout.resolve(short)

    assert git.first in caught.value.next
    assert checkout.resolve(f"refs/{kind}/{short}") == second
    assert checkout.resolve(git.first) == checkout.resolve(git.first.upper()) == git.first


def test_a_short_sha_of_two_commits_is_refused_with_both(
    git: Git, checkout: Checkout, tmp_path: Path
) -> None:
    shas = []
    tree = git.run("hash-object", "-t", "tree", "-w", os.devnull)
    who = "Ada <ada@example.org> 0 +0000"
    for message in ("242", "892"):  # Of such commits the first two that begin alike.
        text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{message}\n"
        (tmp_path / "commit").write_text(text)
        shas.append(git.run("hash-object", "-t", "commit", "-w", str(tmp_path / "commit")))
        git.run("push", "--quiet", "origin", f"{shas[-1]}:refs/heads/has-{message}")
    fetch(checkout)

    with pytest.raises(Refused, match=r"'6a73' means 2 commits: commit 6a73.*, commit") as caught:
        checkout.resolve("6a73")

    assert all(f"manage.py deploy {sha}" in caught.value.next for sha in shas)


@pytest.mark.parametrize("name", ["mäin", "日本", "a'b", "$(id)", "x;y", "a&b", "#1", "%s", "{x}"])
def test_any_name_that_git_lets_a_branch_have_can_be_deployed(
    git: Git, checkout: Checkout, name: str
) -> None:
    git.run("push", "--quiet", "origin", f"main:refs/heads/{name}", f"main:refs/tags/{name}")
    fetch(checkout)

    assert checkout.resolve(name) == checkout.resolve(f"tags/{name}") == git.first


def test_what_git_describe_says_is_not_read_as_the_commit_in_it(
    git: Git, checkout: Checkout
) -> None:
    git.run("push", "--quiet", "origin", "main:refs/tags/v1")
    fetch(checkout)

    with pytest.raises(Refused, match="is not a branch or tag"):
        checkout.resolve(f"v1-0-g{git.first[:12]}")


def test_a_tag_of_something_that_is_no_commit_is_refused(git: Git, checkout: Checkout) -> None:
    git.run("tag", "tree", f"{git.first}^{{tree}}")
    git.run("push", "--quiet", "origin", "tree")
    fetch(checkout)

    with pytest.raises(Refused, match="The tag tree is not a commit's"):
        checkout.resolve("tree")
