"""What the check of the server's checkout says, with real git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.ops.health.checks import checkout
from apps.ops.health.result import Result, Status
from tests.conftest import Git, OpsSettingsFactory

Look = Callable[..., Result]


@pytest.fixture
def look(ops_settings: OpsSettingsFactory, git: Git, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Without Docker: what is live is then not known, and the rest is."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    return lambda **changes: checkout.look(ops_settings(checkout=git.checkout, **changes))


def test_a_clean_checkout_at_the_newest_commit_is_good(look: Look, git: Git) -> None:
    result = look()

    assert result.status is Status.GOOD
    assert result.figures == {"head": git.first[:12], "remote": git.first[:12]}


def test_being_behind_the_remote_is_said_and_not_bad(look: Look, git: Git) -> None:
    pushed = git.push("Second", {"README": "two\n"})

    result = look()

    assert result.status is Status.GOOD
    assert f"main has {pushed[:12]}, not deployed" in result.summary


def test_a_changed_file_is_bad_and_named(look: Look, git: Git) -> None:
    (git.checkout / "README").write_text("by hand\n")

    result = look()

    assert result.status is Status.BAD
    assert "README in the checkout differ" in result.summary


def test_a_file_that_git_does_not_know_is_nobodys_business(look: Look, git: Git) -> None:
    (git.checkout / ".env").write_text("SECRET_KEY=x\n")

    assert look().status is Status.GOOD


def test_a_remote_that_is_not_there_is_not_measured(look: Look, git: Git) -> None:
    git.remote.rename(git.remote.with_name("gone"))

    result = look()

    assert result.status is Status.UNKNOWN
    assert "'origin' does not answer" in result.summary


def test_a_remote_that_hangs_is_not_measured(look: Look, git: Git) -> None:
    git.on_server("config", "remote.origin.url", "ext::sleep 300")
    git.on_server("config", "protocol.ext.allow", "always")

    assert look().status is Status.UNKNOWN


def test_a_remote_without_the_branch_is_bad(look: Look) -> None:
    result = look(branch="release")

    assert result.status is Status.BAD
    assert "no branch 'release'" in result.summary


def test_a_directory_that_is_no_checkout_is_not_measured(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    assert checkout.look(ops_settings(checkout=tmp_path)).status is Status.UNKNOWN
