from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.conf import OpsSettings

FIELDS = {field.name: (field.metadata["env"], field.default) for field in fields(OpsSettings)}
NUMBERS = {n: (env, d) for n, (env, d) in FIELDS.items() if type(d) in (int, float)}


def read(**variables: str) -> OpsSettings:
    env = environ.FileAwareEnv()
    env.ENVIRON = FileAwareMapping(env=variables)
    return OpsSettings.from_env(env)


def another(default: Any) -> tuple[str, Any]:
    """What somebody could write who wants something else than the default, and what that means."""
    match default:
        case bool():
            return str(not default).lower(), not default
        case int() | float():
            return f" {default + 1:g} ", default + 1
        case tuple():
            return "one", ("one",)
        case Path():
            return "/somewhere/else", Path("/somewhere/else")
    return "something", "something"


def test_nothing_set_gives_every_default() -> None:
    assert read() == OpsSettings()


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_read_from_its_variable_and_no_other(name: str) -> None:
    variable, default = FIELDS[name]
    written, meant = another(default)

    settings = read(**{variable: written})

    assert getattr(settings, name) == meant
    assert type(getattr(settings, name)) is type(meant)
    assert [f for f in FIELDS if getattr(settings, f) != FIELDS[f][1]] == [name]


@pytest.mark.parametrize("name", FIELDS)
def test_an_empty_variable_is_one_that_is_not_set(name: str) -> None:
    variable, default = FIELDS[name]

    assert getattr(read(**{variable: " "}), name) == default


def test_variables_lists_every_field_with_its_default() -> None:
    assert OpsSettings.variables() == dict(FIELDS.values())


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "branch").write_text("production\n")

    assert read(OPS_BRANCH_FILE=str(tmp_path / "branch")).branch == "production"


def test_lists_are_separated_as_compose_and_people_do() -> None:
    settings = read(COMPOSE_FILE="a.yml:b.yml", OPS_SMOKE_PATHS="/, /about/,,/a:b")

    assert settings.compose_files == ("a.yml", "b.yml")
    assert settings.smoke_paths == ("/", "/about/", "/a:b")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("YES", True), ("On", True), ("1", True)]
    + [("false", False), ("No", False), ("off", False), ("0", False)],
)
def test_yes_and_no_have_several_words(written: str, meant: bool) -> None:
    assert read(OPS_KEEP_STANDBY=written).keep_standby is meant


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("OPS_KEEP_STANDBY", "maybe", "must be true or false, and is 'maybe'."),
        ("OPS_KEEP_RELEASES", "2.5", "must be a whole number, and is '2.5'."),
        ("OPS_KEEP_RELEASES", "five", "must be a whole number, and is 'five'."),
        ("OPS_KEEP_RELEASES", "-1", "must not be negative or endless, and is '-1'."),
        ("OPS_DRAIN_SECONDS", "40s", "must be a number, and is '40s'."),
        ("OPS_DRAIN_SECONDS", "-0.5", "must not be negative or endless, and is '-0.5'."),
        ("OPS_DRAIN_SECONDS", "inf", "must not be negative or endless, and is 'inf'."),
        ("OPS_DRAIN_SECONDS", "1e999", "must not be negative or endless, and is '1e999'."),
        ("OPS_DRAIN_SECONDS", "nan", "must not be negative or endless, and is 'nan'."),
    ],
)
def test_a_wrong_value_is_a_sentence_that_names_the_variable(
    variable: str, value: str, sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(**{variable: value})

    assert str(caught.value) == f"{variable} {sentence}"


@given(st.sampled_from(sorted(NUMBERS)), st.text(st.characters(codec="utf-8")))
def test_whatever_is_written_a_number_is_finite_and_not_negative_or_refused(
    name: str, written: str
) -> None:
    variable, default = NUMBERS[name]
    # "$NAME" is django-environ's way to mean another variable; an environment holds no NUL.
    written = written.replace("\0", "").lstrip("$")
    try:
        value = getattr(read(**{variable: written}), name)
    except ImproperlyConfigured as error:
        said = str(error)
    else:
        said = f"{variable} must " if 0 <= value < float("inf") else f"{value}"
        assert type(value) is type(default)
    assert said.startswith(f"{variable} must ")


def test_settings_cannot_be_changed_behind_a_deployments_back() -> None:
    with pytest.raises(AttributeError):
        OpsSettings().branch = "other"  # type: ignore[misc]
