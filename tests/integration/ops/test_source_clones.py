"""A checkout that is not a plain clone of everything: right, or refused with what to type."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apps.ops import freezes
from apps.ops.deploys import preview
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.fetch import Fetch
from apps.ops.errors import OpsError, Refused, StepFailed
from apps.ops.source import Checkout
from tests.conftest import Git, OpsSettingsFactory
from tests.servers import HUNG_SECONDS


def fetch(checkout: Checkout) -> None:
    checkout.fetch(seconds=HUNG_SECONDS, say=print)


def clone_anew(git: Git, *options: str) -> None:
    shutil.rmtree(git.checkout)
    git.run("clone", "--quiet", *options, f"file://{git.remote}", str(git.checkout))


def test_a_shallow_clone_of_one_branch_deploys_also_another(git: Git, checkout: Checkout) -> None:
    second = git.push("Second")
    clone_anew(git, "--depth=1")
    git.run("checkout", "--quiet", "-b", "feature")
    third = git.push("Third", {"README": "three\n"})
    fetch(checkout)

    assert checkout.resolve("feature") == third
    assert [c.sha for c in checkout.commits_between(second, third, limit=9)[0]] == [third]
    checkout.bring(third, seconds=HUNG_SECONDS, say=print)
    checkout.move_to(third)
    assert (git.checkout / "README").read_text() == "three\n"
    with pytest.raises(Refused) as caught:
        checkout.resolve(git.first)
    assert "fetch --unshallow" in caught.value.next


@pytest.mark.parametrize("filtered", ["blob:none", "tree:0"])
def test_what_a_partial_clone_left_with_the_remote_is_fetched_before_it_is_built(
    git: Git, checkout: Checkout, filtered: str
) -> None:
    git.run("-C", str(git.remote), "config", "uploadpack.allowFilter", "true")
    clone_anew(git, f"--filter={filtered}")
    second = git.push("Second", {"a/b/c": "two\n", "README": "two\n"})
    third = git.push("Third", {"README": "three\n"})
    fetch(checkout)
    checkout.bring(second, seconds=HUNG_SECONDS, say=print)
    git.on_server("config", "remote.origin.url", "/nowhere")

    with checkout.archive(second) as stream:
        assert b"two\n" in stream.read()
    with pytest.raises(StepFailed, match=r"left 1 objects of .* with the remote 'origin'"):
        checkout.bring(third, seconds=HUNG_SECONDS, say=print)


def test_a_sparse_checkout_builds_all_and_is_refused_without_what_containers_need(
    git: Git, checkout: Checkout
) -> None:
    sha = git.push("Second", {"docker/caddy/Caddyfile": "x", "apps/x.py": "x"})
    fetch(checkout)
    checkout.move_to(sha)
    git.on_server("sparse-checkout", "set", "docker")
    assert not (git.checkout / "apps").exists()

    assert checkout.changed_files() == checkout.absent(["docker"]) == []
    checkout.bring(sha, seconds=HUNG_SECONDS, say=print)
    with checkout.archive(sha) as stream:
        assert b"apps/x.py" in stream.read()
    git.on_server("sparse-checkout", "set", "apps")
    assert checkout.absent(["docker"]) == ["docker/caddy/Caddyfile"]


def test_a_worktree_deploys_where_its_repository_is_seen_and_is_refused_where_not(
    git: Git, tmp_path: Path
) -> None:
    git.on_server("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    checkout = Checkout(tmp_path / "tree", remote="origin", branch="main")
    second = git.push("Second", {"README": "two\n"})
    fetch(checkout)
    lock = git.checkout / ".git/worktrees/tree/index.lock"
    lock.touch()
    checkout.move_to(second, again=True)
    assert (tmp_path / "tree" / "README").read_text() == "two\n"

    git.checkout.rename(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is a worktree or a submodule") as caught:
        fetch(checkout)
    assert caught.value.next.startswith("git clone ")


def test_a_clone_that_borrows_from_one_that_is_not_seen_is_refused(
    git: Git, checkout: Checkout
) -> None:
    shutil.rmtree(git.checkout)
    git.run("clone", "--quiet", "--shared", str(git.clone), str(git.checkout))
    git.clone.rename(git.clone.with_name("gone"))

    with pytest.raises(Refused, match=f"borrows objects from {git.clone}"):
        fetch(checkout)


def test_a_remote_of_another_name_is_said(git: Git, checkout: Checkout) -> None:
    git.on_server("remote", "rename", "origin", "upstream")
    with pytest.raises(Refused, match="has no remote 'origin', only upstream") as caught:
        fetch(checkout)
    assert caught.value.next == "set OPS_REMOTE=upstream in .env"

    git.on_server("remote", "remove", "upstream")
    with pytest.raises(Refused, match="has no remote 'origin', nor any other"):
        fetch(checkout)


def test_a_damaged_clone_is_said(git: Git, checkout: Checkout) -> None:
    second = git.push("Second")
    fetch(checkout)
    (git.checkout / ".git/objects" / second[:2] / second[2:]).unlink()
    with pytest.raises(StepFailed, match="which git cannot read"):
        checkout.resolve("main")

    (git.checkout / ".git/HEAD").unlink()
    with pytest.raises(StepFailed, match="git cannot read"):
        fetch(checkout)


def test_a_rewritten_remote_and_commits_of_the_checkout_are_told(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second")
    fetch(checkout)
    checkout.move_to(second)
    assert checkout.left_behind(second, second) == []
    git.run("reset", "--quiet", "--hard", git.first)
    other = git.push("Other second")
    git.on_server("commit", "--quiet", "--allow-empty", "--message", "By hand")
    fetch(checkout)

    rewritten, own = checkout.left_behind(other, second)
    assert rewritten.startswith(f"1 commit is in the live release {second[:12]} and not in")
    assert own.startswith("1 commit is in the checkout and on no branch or tag of 'origin'")
    # An older release is nobody's rewriting.
    assert checkout.left_behind(git.first, second) == [own]

    mine = git.on_server("rev-parse", "main")
    told = checkout.move_to(other)
    assert told.startswith("The checkout left its branch main: 2 commits are on it and not in")
    assert (git.on_server("rev-parse", "HEAD"), git.on_server("rev-parse", "main")) == (other, mine)


def test_the_checkout_stays_on_its_branch_when_a_tag_has_that_name_and_a_hook_fails(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second")
    git.run("push", "--quiet", "origin", f"{git.first}:refs/tags/main")
    hooks = git.checkout / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-merge", "post-checkout"):
        (hooks / name).write_text("#!/bin/sh\nexit 2\n")
        (hooks / name).chmod(0o755)
    fetch(checkout)

    assert checkout.move_to(second) == ""
    assert git.on_server("symbolic-ref", "HEAD") == "refs/heads/main"
    assert git.on_server("rev-parse", "HEAD") == second
    checkout.move_to(git.first)
    assert git.on_server("rev-parse", "HEAD") == git.first


def test_a_git_that_hangs_is_no_answer_and_said(git: Git, checkout: Checkout) -> None:
    hook = git.checkout / ".git/hangs"
    hook.write_text("#!/bin/sh\nsleep 300\n")
    hook.chmod(0o755)
    git.on_server("config", "core.fsmonitor", str(hook))

    with pytest.raises(StepFailed, match=r"did not end within 0\.5 s and was ended") as caught:
        checkout.changed_files(seconds=0.5)
    assert caught.value.next.startswith(f"git -C {git.checkout} status")


def test_a_repository_of_sha_256_is_refused(git: Git, checkout: Checkout) -> None:
    shutil.rmtree(git.checkout)
    git.run("init", "--quiet", "--object-format=sha256", str(git.checkout))

    with pytest.raises(Refused, match="names its commits by SHA-256"):
        fetch(checkout)


def test_what_is_in_the_way_of_the_checkout_is_said_and_kept(git: Git, checkout: Checkout) -> None:
    sha = git.push("Second", {"new": "theirs"})
    fetch(checkout)
    (git.checkout / "new").write_text("mine")

    with pytest.raises(StepFailed, match="did not follow to"):
        checkout.move_to(sha)
    assert (git.checkout / "new").read_text() == "mine"


@pytest.mark.django_db(transaction=True)
def test_the_plan_is_refused_as_the_deployment_would_be(
    git: Git, deploy: Deploy, ops_settings: OpsSettingsFactory
) -> None:
    deploy.checkout = Checkout(git.checkout, remote="origin", branch="main")
    deploy.settings = ops_settings(checkout=git.checkout)
    (git.checkout / "README").write_text("by hand")

    def told(act: object) -> tuple[str, str, int]:
        with pytest.raises(OpsError) as caught:
            act()  # type: ignore[operator]
        return caught.value.found, caught.value.next, caught.value.exit_code

    def planned() -> object:
        return preview.describe(
            None, settings=deploy.settings, options=deploy.options, as_json=False
        )

    refused = told(lambda: Fetch().run(deploy))
    assert refused[0] == "The checkout has changes that git does not have: README."
    assert refused[2] == 5
    assert told(planned) == refused

    (git.checkout / "README").write_text("one\n")
    freezes.freeze("A sale", by="ada", state_dir=deploy.settings.state_dir)
    assert told(planned)[2] == 4
