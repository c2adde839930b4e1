from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.ops.deploys.environment import changed_names, missing_variables, unreached
from apps.ops.source import Checkout
from apps.ops.stack.service import Environment

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


LIVE = Environment(
    values={"PATH": "/bin", "LANG": "C", "COLOR": "blue", "A": "1", "B": "2", "GONE": "3"},
    given={"COLOR": "blue", "A": "1", "B": "2", "GONE": "3"},
)


def test_what_the_candidate_is_given_otherwise_is_told_by_name() -> None:
    changes = changed_names(LIVE, {"COLOR": "green", "A": "1", "B": "two", "NEW": "4"})

    assert changes.lines() == ["+ NEW", "- GONE", "~ B"]


def test_what_the_image_has_and_what_differs_by_design_is_no_change() -> None:
    given = {"COLOR": "green", "A": "1", "B": "2", "GONE": "3"}

    assert not changed_names(LIVE, given)
    # Said once more as the image says it.
    assert not changed_names(LIVE, {**given, "LANG": "C"})
    assert changed_names(LIVE, {**given, "LANG": "de"}).changed == ("LANG",)


def test_an_environment_does_not_show_its_values_in_a_traceback() -> None:
    assert repr(LIVE) == "Environment()"


def test_variables_that_neither_web_nor_worker_gets_are_told_by_name(git: Git) -> None:
    git.push("Compose", {"compose.prod.yml": "ports: ${HTTP_BIND:-80}"})
    git.on_server("pull", "--quiet")
    (git.checkout / ".env").write_text(
        "HTTP_BIND=80\nCOMPOSE_FILE=x\nOPS_BRANCH=main\nSHOP=1\nSTRIPE_KEY=x\nCURRENCY=EUR\n"
        "EMAIL_URL_FILE=/run/own\n"
    )
    checkout = Checkout(git.checkout, remote="origin", branch="main")
    given = {"CURRENCY", "EMAIL_URL_FILE"}

    assert unreached(checkout, "HEAD", ["compose.prod.yml"], given) == ["SHOP", "STRIPE_KEY"]
