"""A commit with submodules, with real git: built with their files, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.ops.errors import Refused
from apps.ops.source import Checkout
from apps.ops.source.submodules import resolved
from tests.conftest import Git
from tests.integration.ops.conftest import bring, built
from tests.servers import HUNG_SECONDS


@pytest.fixture
def theme(git: Git, tmp_path: Path) -> Git:
    """A submodule `theme`, which has one itself, `icons`; the main one knows it as a neighbour."""
    icons, theme = (make(tmp_path, name) for name in ("icons", "theme"))
    icons.push("Icon", {"icon.svg": "<svg>"})
    theme.run("submodule", "--quiet", "add", str(icons.remote), "icons")
    theme.push("Theme", {"theme.css": "one"})
    git.run("submodule", "--quiet", "add", "../theme/remote.git", "site/theme")
    git.push("With a theme")
    return theme


def make(root: Path, name: str) -> Git:
    (root / name).mkdir()
    return Git(root / name)


def bump(git: Git, theme: Git, css: str) -> str:
    """The SHA of a commit with a newer theme."""
    sha = theme.push(css, {"theme.css": css})
    git.run("-C", "site/theme", "fetch", "--quiet", "origin", sha)
    git.run("-C", "site/theme", "checkout", "--quiet", sha)
    return git.push(f"Theme {css}")


def test_submodules_are_built_with_their_files_at_the_commits_that_are_recorded(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    first = git.run("rev-parse", "HEAD")
    second = bump(git, theme, "two")
    theme.push("Not recorded", {"theme.css": "three"})

    for sha, css in ((first, b"one"), (second, b"two")):
        bring(checkout, sha)
        files = built(checkout, sha)
        assert files["site/theme/theme.css"] == css
        assert files["site/theme/icons/icon.svg"] == b"<svg>"
        assert set(checkout.files(sha)) == set(files)
        assert checkout.file(sha, "README") == "one"
    assert git.on_server("status", "--porcelain") == ""
    for path in (git.checkout / ".git" / "changeover.git").rglob("*"):
        assert path.stat().st_uid == git.checkout.stat().st_uid


def test_a_submodules_commit_that_nobody_pushed_is_refused_before_anything_is_built(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    git.run("-C", "site/theme", "commit", "--quiet", "--allow-empty", "--message", "Mine")
    sha = git.push("Theme of mine")

    with pytest.raises(Refused, match="of its submodule site/theme, which could not be fetched"):
        bring(checkout, sha)


def test_a_repository_in_the_repository_without_an_address_is_refused(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    git.run("rm", "--quiet", "--cached", ".gitmodules")
    (git.clone / ".gitmodules").unlink()
    sha = git.push("No address")

    with pytest.raises(Refused, match=r"site/theme in .* is another repository's commit"):
        bring(checkout, sha)


def test_a_submodules_address_does_not_open_this_machines_files(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    """The remote here is one of another machine, as far as its address tells."""
    sha = git.run("rev-parse", "HEAD")
    checkout.fetch(seconds=HUNG_SECONDS, say=print)
    git.on_server("config", f"url.{git.remote}.insteadOf", "ssh://git.example.org/site.git")
    git.on_server("config", "remote.origin.url", "ssh://git.example.org/site.git")
    git.on_server("config", "submodule.site/theme.url", str(theme.remote))

    with pytest.raises(Refused, match="could not be fetched"):
        bring(checkout, sha)


def test_initialised_submodules_follow_and_do_not_refuse_the_next_deployment(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    second = bump(git, theme, "two")
    git.on_server("pull", "--quiet")
    git.on_server("submodule", "--quiet", "update", "--init", "--recursive")
    third = bump(git, theme, "three")
    bring(checkout, third)
    checkout.move_to(third)

    assert (git.checkout / "site/theme/theme.css").read_text() == "three"
    assert checkout.changed_files() == []
    # As a release from before this left it.
    git.on_server("-C", "site/theme", "checkout", "--quiet", "HEAD~1")
    (git.checkout / "site/theme/untracked").touch()
    assert git.on_server("status", "--porcelain") != ""
    assert checkout.changed_files() == []
    checkout.move_to(second)
    assert (git.checkout / "site/theme/theme.css").read_text() == "two"


def test_what_somebody_changed_in_a_submodule_is_named_and_kept(
    git: Git, checkout: Checkout, theme: Git
) -> None:
    git.on_server("pull", "--quiet", "--recurse-submodules")
    git.on_server("submodule", "--quiet", "update", "--init", "--recursive")
    changed = git.checkout / "site/theme/icons/icon.svg"
    changed.write_text("mine")

    assert checkout.changed_files() == ["site/theme (a submodule)"]

    git.on_server("-C", "site/theme/icons", "commit", "--quiet", "--all", "--message", "Mine")
    git.on_server("-C", "site/theme", "commit", "--quiet", "--all", "--message", "Mine")
    assert checkout.changed_files() == ["site/theme (commits of its own)"]
    assert changed.read_text() == "mine"


@pytest.mark.parametrize(
    ("base", "address", "meant"),
    [
        ("git@example.org:team/site.git", "../theme.git", "git@example.org:team/theme.git"),
        ("git@example.org:site.git", "../theme.git", "git@example.org:theme.git"),
        ("https://example.org/a/b.git/", "../../c/d", "https://example.org/c/d"),
        ("/srv/site.git", "./theme/", "/srv/site.git/theme"),
        ("/srv/site.git", "https://example.org/theme.git", "https://example.org/theme.git"),
    ],
)
def test_an_address_is_relative_to_the_remotes(base: str, address: str, meant: str) -> None:
    assert resolved(base, address) == meant
