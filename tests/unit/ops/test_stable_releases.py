from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.deploys.rollback import Entry, stable_releases


def deployed(release: str, previous: str = "", status: str = "succeeded") -> Entry:
    return Entry("deploy", status, release, previous)


def rolled_back_to(release: str, previous: str, status: str = "succeeded") -> Entry:
    return Entry("rollback", status, release, previous)


def test_an_empty_history_has_none() -> None:
    assert stable_releases([]) == []


def test_what_was_deployed_is_stable_and_the_newest_comes_first() -> None:
    assert stable_releases([deployed("c", "b"), deployed("b", "a"), deployed("a")]) == [
        *("c", "b", "a")
    ]


def test_a_release_that_was_deployed_twice_is_named_once_where_it_was_deployed_last() -> None:
    assert stable_releases([deployed("a", "b"), deployed("b", "a"), deployed("a")]) == ["a", "b"]


def test_a_release_that_its_bake_moved_back_is_not_stable() -> None:
    assert stable_releases([deployed("b", "a", "rolled back"), deployed("a")]) == ["a"]


def test_nor_is_it_when_it_was_stable_before() -> None:
    history = [deployed("a", "b", "rolled back"), deployed("b", "a"), deployed("a")]

    assert stable_releases(history) == ["b"]


def test_a_release_that_somebody_rolled_back_from_is_not_stable() -> None:
    assert stable_releases([rolled_back_to("a", "b"), deployed("b", "a"), deployed("a")]) == ["a"]


def test_until_it_is_deployed_again() -> None:
    history = [deployed("b", "a"), rolled_back_to("a", "b"), deployed("b", "a"), deployed("a")]

    assert stable_releases(history) == ["b", "a"]


def test_two_rollbacks_in_a_row_go_back_two_releases_and_not_forth_and_back() -> None:
    history = [deployed("c", "b"), deployed("b", "a"), deployed("a")]
    history = [rolled_back_to("b", "c"), *history]
    assert stable_releases(history) == ["b", "a"]

    history = [rolled_back_to("a", "b"), *history]
    assert stable_releases(history) == ["a"]


@pytest.mark.parametrize("status", ["failed", "interrupted", "running", "queued"])
@pytest.mark.parametrize("kind", ["deploy", "rollback"])
def test_what_did_not_come_to_its_end_says_nothing(status: str, kind: str) -> None:
    unclear = Entry(kind, status, "b", "a")

    assert stable_releases([unclear, deployed("a")]) == ["a"]
    assert stable_releases([unclear, deployed("b", "a"), deployed("a")]) == ["b", "a"]


def test_a_rollback_to_what_was_live_condemns_nothing() -> None:
    assert stable_releases([rolled_back_to("a", "a"), deployed("a")]) == ["a"]


def test_a_release_without_a_name_is_none() -> None:
    # A first deployment's previous release.
    assert stable_releases([rolled_back_to("a", ""), deployed("")]) == ["a"]


entries = st.builds(
    Entry,
    kind=st.sampled_from(["deploy", "rollback"]),
    status=st.sampled_from(["succeeded", "failed", "rolled back", "interrupted", "running"]),
    release=st.sampled_from("abcde"),
    previous=st.sampled_from(["", *"abcde"]),
)


@given(st.lists(entries, max_size=12))
def test_it_is_what_reading_the_history_from_its_beginning_leaves(history: list[Entry]) -> None:
    """The other way round: oldest first, each entry makes a release stable or takes that away."""
    stable: dict[str, None] = {}
    for entry in reversed(history):
        if entry.status == "succeeded":
            if entry.kind == "rollback":
                stable.pop(entry.previous, None)
            stable.pop(entry.release, None)
            stable[entry.release] = None
        elif entry.status == "rolled back":
            stable.pop(entry.release, None)

    assert stable_releases(history) == list(stable)[::-1]


@given(st.lists(entries, max_size=12), entries)
def test_a_success_is_the_first_choice_at_once(history: list[Entry], last: Entry) -> None:
    now = stable_releases([Entry(last.kind, "succeeded", last.release, last.previous), *history])

    assert now[0] == last.release
    assert set(now) <= {last.release, *stable_releases(history)}
