from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.ops.deploys.environment import missing_variables
from apps.ops.source import Checkout

if TYPE_CHECKING:
    from tests.conftest import Git


@pytest.fixture
def checkout(git: Git) -> Checkout:
    git.push("Needs variables", {".env.example": "A=\nB=\n#C=\nD=default\n"})
    git.on_server("fetch", "--quiet")
    return Checkout(git.checkout, remote="origin", branch="main")


def missing(checkout: Checkout, dotenv: str | None) -> list[str]:
    if dotenv is not None:
        (checkout.path / ".env").write_text(dotenv)
    return missing_variables(checkout, checkout.resolve(None))


def test_only_what_has_nothing_after_the_equals_sign_is_required(checkout: Checkout) -> None:
    assert missing(checkout, "") == ["A", "B"]


def test_without_a_dotenv_everything_required_is_missing(checkout: Checkout) -> None:
    assert missing(checkout, None) == ["A", "B"]


def test_a_variable_that_is_set_to_nothing_is_missing(checkout: Checkout) -> None:
    assert missing(checkout, "A=x\nB=\n") == ["B"]


def test_a_file_to_read_it_from_is_enough(checkout: Checkout) -> None:
    assert missing(checkout, "A=x\nB_FILE=/run/secrets/b\n") == []


def test_a_release_without_an_example_requires_nothing(git: Git) -> None:
    assert missing(Checkout(git.checkout, remote="origin", branch="main"), "") == []
