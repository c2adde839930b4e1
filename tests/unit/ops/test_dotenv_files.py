"""`.env` files are read as Compose reads them, compared by names, and filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.dotenv import compare, fill, parse, read_example

EXAMPLE = """\
# Signs sessions: openssl rand -base64 48
SECRET_KEY=
SITE_HOST=
COMPOSE_FILE=compose.prod.yml
#DEBUG=false
# TIME_ZONE=UTC
"""


def test_comments_quotes_and_export_are_read_as_compose_does() -> None:
    text = "# no\nA=1 # a note\nexport B='two # 2'\n C = \"3\" # three\nD=\nE=a#b\r\n"

    assert parse(text).values == {"A": "1", "B": "two # 2", "C": "3", "D": "", "E": "a#b"}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("  export NAME = value ", {"NAME": "value"}),
        ("NAME=a=b", {"NAME": "a=b"}),
        ("NAME= # fill this in", {"NAME": "# fill this in"}),
        ('NAME=""', {"NAME": ""}),
        ("#NAME=value", {}),
        ("# prose with NAME=value", {}),
        ("MY-VAR=1", {"MY-VAR": "1"}),
        ("my.var: 1", {"my.var": "1"}),
    ],
)
def test_an_assignment_is_read_as_compose_reads_it(line: str, values: dict[str, str]) -> None:
    assert parse(line).values == values


def test_a_value_in_quotes_goes_on_over_lines() -> None:
    found = parse('KEY="-----BEGIN\nNOT=this\n-----END"\nNEXT=1\n')

    assert found.values == {"KEY": "-----BEGIN\nNOT=this\n-----END", "NEXT": "1"}
    assert not found.wrong


def test_lines_that_are_no_assignment_are_told_by_number() -> None:
    found = parse("A=1\nwhat is\n\n=2\nB='open\nC=3\nonly-a-name\n")

    assert (found.wrong, found.bare) == ((2, 4, 5), {7: "only-a-name"})


def test_the_last_of_two_assignments_counts() -> None:
    assert parse("A=$one\nA=two\n") == parse("A=two\n")


def test_a_dollar_that_compose_takes_for_a_variable_is_noticed() -> None:
    assert parse("A=pa$word\nB='pa$word'\nC=pa$$word\nD=\"$HOME\"\n").interpolated == ("A", "D")


@given(st.text())
def test_no_text_is_too_strange_to_read(text: str) -> None:
    parse(text)


def test_a_quote_that_never_ends_and_variables_without_a_bottom_take_no_time() -> None:
    deep = f"A={'${A:-' * 3000}{'}' * 3000}\n"
    found = parse(f"{deep}KEY='{'line\n' * 30_000}")

    assert found.wrong == (1, 2)
    assert len(found.bare) == 29_999


def test_what_the_example_leaves_empty_is_required() -> None:
    example = read_example(EXAMPLE)

    assert example.missing(parse("SITE_HOST=a.example\nSECRET_KEY=\n")) == ["SECRET_KEY"]
    assert example.missing(parse("SITE_HOST=a.example\nSECRET_KEY_FILE=/run/key\n")) == []


def test_what_the_example_does_not_tell_of_is_unknown() -> None:
    example = read_example(EXAMPLE)
    given = parse("SECRET_KEY_FILE=/k\nDEBUG=1\nTIME_ZONE=UTC\nSIET_HOST=a\n")

    assert example.unknown(given) == ["SIET_HOST"]


def test_the_projects_own_example_can_be_read() -> None:
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    example = read_example(text)

    assert not parse(text).wrong
    assert example.required == ("SECRET_KEY", "POSTGRES_PASSWORD", "SITE_HOST")
    assert {"DEBUG", "OPS_BACKUP_KEEP", "COMPOSE_FILE"} <= example.known


def test_changes_are_told_by_name_and_never_by_value() -> None:
    changes = compare(parse("A=1\nB=old-secret\nC=3\n"), parse("B=new-secret\nC=3\nD=4\n"))

    assert changes.lines() == ["+ D", "- A", "~ B"]
    assert not compare(parse("A=1\n"), parse("# the same\nA='1'\n"))


def test_values_are_filled_in_where_their_names_stand() -> None:
    filled = fill(EXAMPLE, {"SECRET_KEY": "k", "DEBUG": "true", "NEW": "1"})

    assert filled == (
        EXAMPLE.replace("SECRET_KEY=", "SECRET_KEY=k").replace("#DEBUG=false", "DEBUG=true")
        + "NEW=1\n"
    )
