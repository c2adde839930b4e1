from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.redact import HIDDEN, MIN_LENGTH, Redactor

secret = st.text(
    st.characters(codec="utf-8", exclude_characters=HIDDEN), min_size=MIN_LENGTH, max_size=12
)


def test_a_secrets_value_is_hidden_wherever_it_stands() -> None:
    redactor = Redactor.from_environment({"POSTGRES_PASSWORD": "tr0ub4dor"})

    assert redactor.clean("x=tr0ub4dor;y=tr0ub4dor") == f"x={HIDDEN};y={HIDDEN}"


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "secret_key",
        "POSTGRES_PASSWORD",
        "SMTP_PASSWD",
        "GITHUB_TOKEN",
        "SENTRY_DSN",
        "OPS_NOTIFY_SLACK",
    ]
    + ["CLOUDFLARE_API_KEY", "STRIPE_APIKEY", "DEPLOY_KEY", "AWS_CREDENTIALS", "PRIVATE_STUFF"],
)
def test_a_variables_name_says_that_it_is_secret(name: str) -> None:
    assert Redactor.from_environment({name: "tr0ub4dor"}).clean("tr0ub4dor") == HIDDEN


@pytest.mark.parametrize("name", ["KEYBOARD", "POSTGRES_HOST", "MONKEY_NAME", "SECRET_KEY_FILE"])
def test_other_values_are_left_alone(name: str) -> None:
    assert Redactor.from_environment({name: "/run/postgres"}).clean("/run/postgres") == (
        "/run/postgres"
    )


def test_a_short_value_would_stand_in_too_many_innocent_lines() -> None:
    redactor = Redactor(["short", "longer"])

    assert redactor.clean("short and longer") == f"short and {HIDDEN}"


def test_nothing_to_hide_leaves_the_text_as_it_is() -> None:
    assert Redactor([]).clean("nothing") == "nothing"


def test_a_value_that_contains_another_is_hidden_whole() -> None:
    assert Redactor(["secret", "secret-and-more"]).clean("secret-and-more") == HIDDEN


def test_values_that_overlap_leave_nothing_of_either() -> None:
    assert Redactor(["abcdef", "defghi"]).clean("<abcdefghi>") == f"<{HIDDEN}>"


def test_a_value_is_text_and_no_pattern() -> None:
    assert Redactor([r"a.c*d+\d"]).clean(r"aXcd a.c*d+\d") == f"aXcd {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("postgres://site:pw@db:5432/site", f"postgres://{HIDDEN}@db:5432/site"),
        (
            "git clone https://x-token@example.org/a.git",
            f"git clone https://{HIDDEN}@example.org/a.git",
        ),
        ("redis://:pw@redis/0", f"redis://{HIDDEN}@redis/0"),
        ("git+ssh://git@example.org", f"git+ssh://{HIDDEN}@example.org"),
        ("https://example.org/@someone", "https://example.org/@someone"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("ada@example.org", "ada@example.org"),
    ],
)
def test_an_address_loses_its_user_and_password(text: str, cleaned: str) -> None:
    assert Redactor([]).clean(text) == cleaned


def test_an_addresss_password_may_have_an_at_sign() -> None:
    assert Redactor([]).clean("redis://:p@ss@redis/0") == f"redis://{HIDDEN}@redis/0"


def test_each_of_several_keys_in_one_variable_is_hidden() -> None:
    redactor = Redactor.from_environment({"SECRET_KEY_FALLBACKS": "older-key,oldest-key"})

    assert redactor.clean("used oldest-key") == f"used {HIDDEN}"


def test_each_line_of_a_key_of_several_lines_is_hidden() -> None:
    redactor = Redactor.from_environment({"DEPLOY_KEY": "-----BEGIN-----\nMIIEvQ\n-----END-----"})

    assert redactor.clean("MIIEvQ") == HIDDEN


def test_a_secret_from_a_file_is_hidden_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("tr0ub4dor\n")
    redactor = Redactor.from_environment(
        {"POSTGRES_PASSWORD_FILE": str(tmp_path / "password"), "SECRET_KEY_FILE": "/not/there"}
    )

    assert redactor.clean("tr0ub4dor") == HIDDEN


@given(st.lists(secret, min_size=1, max_size=4), st.lists(st.text(max_size=4), max_size=5))
def test_no_value_survives_whatever_it_is_and_stands_between(
    values: list[str], noise: list[str]
) -> None:
    redactor = Redactor(values)
    text = "".join(value + between for value in values for between in ["", *noise])

    cleaned = redactor.clean(text)

    assert not [value for value in values if value in cleaned]
