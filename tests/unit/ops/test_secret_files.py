"""Secrets in files: written by a deployment from `.env`, read by the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.ops.errors import StepFailed
from apps.ops.secret_files import forget_unwritten, in_place_of_files, write, write_all

GIVEN = {
    "EMAIL_URL_FILE": "/run/secrets/web/EMAIL_URL",
    "SECRET_KEY_FILE": "/run/secrets/web/SECRET_KEY",
    "OWN_FILE": "/etc/own",
    "SITE_HOST": "example.org",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "web").mkdir()
    return tmp_path


def test_what_the_compose_file_names_is_written_and_nothing_else(directory: Path) -> None:
    values = {"SECRET_KEY": "k$y", "OWN": "mine", "SITE_HOST": "example.org", "OTHER": "x"}

    assert write_all(GIVEN, values, directory=directory) == ["SECRET_KEY"]

    assert [path.name for path in (directory / "web").iterdir()] == ["SECRET_KEY"]
    assert (directory / "web/SECRET_KEY").read_text() == "k$y"
    assert (directory / "web/SECRET_KEY").stat().st_mode & 0o777 == 0o400


def test_the_names_of_what_changed_are_told(directory: Path) -> None:
    write_all(GIVEN, {"SECRET_KEY": "one", "EMAIL_URL": "smtp://"}, directory=directory)

    assert write_all(GIVEN, {"SECRET_KEY": "two"}, directory=directory) == [
        "EMAIL_URL",
        "SECRET_KEY",
    ]
    assert write_all(GIVEN, {"SECRET_KEY": "two"}, directory=directory) == []
    assert [path.name for path in (directory / "web").iterdir()] == ["SECRET_KEY"]


def test_where_the_volume_is_not_mounted_nothing_is_written(tmp_path: Path) -> None:
    assert write_all(GIVEN, {"SECRET_KEY": "one"}, directory=tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="could not be written") as caught:
        write(tmp_path / "gone" / "SECRET_KEY", "one", reader=0)
    assert caught.value.next


def test_what_a_killed_deployment_left_half_written_is_replaced(directory: Path) -> None:
    (directory / "web/.SECRET_KEY.new").write_text("hal")
    write(directory / "web/SECRET_KEY", "whole", reader=0)
    assert [path.name for path in (directory / "web").iterdir()] == ["SECRET_KEY"]


def test_a_file_that_was_not_written_leaves_the_variable_itself() -> None:
    environment = {**GIVEN, "SECRET_KEY": "of a release from before"}
    forget_unwritten(environment)
    assert environment == {
        "OWN_FILE": "/etc/own",
        "SECRET_KEY": "of a release from before",
        "SITE_HOST": "example.org",
    }


def test_what_is_in_files_is_compared_by_its_own_name() -> None:
    values = {"SECRET_KEY": "one"}
    found = in_place_of_files(GIVEN, lambda name, path: values.get(name, ""))

    assert found == {"OWN_FILE": "/etc/own", "SECRET_KEY": "one", "SITE_HOST": "example.org"}
    # A container of before the files has the value itself.
    older = in_place_of_files({**GIVEN, "SECRET_KEY": "older"}, lambda name, path: "")
    assert older["SECRET_KEY"] == "older"
