"""Which commands go on without us, and how they are started on the server."""

from __future__ import annotations

import shlex

import pytest

from apps.ops.remote import commands
from apps.ops.remote.commands import Words


@pytest.mark.parametrize(
    "line",
    [
        "deploy",
        "deploy main --no-bake",
        "rollback",
        "recover",
        "backup_db --media",
        "purge_cache --static",
        "purge_cache --everything --noinput",
        "restore_db x --no-input",
        "clean_up",
        "migrate ops",
    ],
)
def test_what_changes_the_server_goes_on_without_us(line: str) -> None:
    assert Words.of(line.split()).is_detached(asked=True)


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "logs -f django-a",
        "shell",
        "deploy --plan",
        "deploy --help",
        "recover --plan",
        "backup_db --list",
        "purge_cache --check",
        "purge_cache --dry-run --static",
        "purge_cache @/dev/stdin",
    ],
)
def test_what_only_looks_or_reads_ends_with_us(line: str) -> None:
    assert not Words.of(line.split()).is_detached(asked=True)


@pytest.mark.parametrize(
    ("line", "looks"),
    [
        ("status --format json", True),
        ("logs --since 10m", True),
        ("logs -f", False),
        ("deploy --plan", True),
        ("deploy", False),
        ("migrate", False),
        ("maintenance on", False),
        ("shell", False),
        ("env diff", False),
    ],
)
def test_all_servers_are_asked_only_what_only_looks_and_ends(line: str, looks: bool) -> None:
    assert Words.of(line.split()).only_looks is looks


@pytest.mark.parametrize("line", ["restore_db x", "purge_cache --everything"])
def test_what_asks_stays_with_whoever_can_answer(line: str) -> None:
    assert not Words.of(line.split()).is_detached(asked=True)
    assert Words.of(line.split()).is_detached(asked=False)


def test_a_deployments_events_are_asked_for_unless_they_are_wanted_as_they_are() -> None:
    assert Words.of(["deploy", "main"]).as_run() == ["deploy", "--format", "json", "main"]
    for line in ("deploy --format json", "deploy --format=json"):
        assert Words.of(line.split()).is_json
        assert Words.of(line.split()).as_run() == line.split()
    assert Words.of(["backup_db"]).as_run() == ["backup_db"]


@pytest.mark.parametrize(
    "line", ["deploy -v", "deploy -v nine", "deploy --format", "deploy -v 9", "deploy --no-color=1"]
)
def test_options_that_are_wrong_are_for_the_server_to_refuse(line: str) -> None:
    assert Words.of(line.split()).verbosity == 1


def test_what_is_given_stays_one_word_each() -> None:
    words = Words.of(["backup_db", "--reason", "it's; $HOME `id`"])
    argv = commands.detached("/my code", words, name="n", by="a b@c", environment={"TERM": "x y"})
    assert argv[4] == "/my code"
    assert argv[-3:] == ["backup_db", "--reason", "it's; $HOME `id`"]
    assert "OPS_REQUESTED_BY=a b@c" in argv
    label = next(word for word in argv if word.startswith("changeover.remote.command="))
    assert shlex.split(label.partition("=")[2]) == words.argv


def test_a_name_is_never_given_twice() -> None:
    assert len({commands.new_name("deploy") for _ in range(50)}) == 50


def test_the_requester_is_who_sits_here() -> None:
    assert commands.requester("ada@laptop") == "ada@laptop"
    assert commands.requester("ada").startswith("ada@")
    assert "@" in commands.requester("")
