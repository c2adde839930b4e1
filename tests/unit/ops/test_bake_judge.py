from __future__ import annotations

from collections.abc import Sequence

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.bake.access_log import Entry
from apps.ops.deploys.bake.judge import Figures, Limits, Span, outside, worse
from apps.ops.stack.log_follower import split_lines

SWAP = 1000.0
LIMITS = Limits(min_requests=20, error_points=5.0, slower_factor=3.0)


def entries(
    count: int, *, errors: int = 0, seconds: float = 0.03, begin: float, end: float
) -> list[Entry]:
    """Evenly spread over the time, and so are the errors."""
    color = Color.GREEN if begin >= SWAP else Color.BLUE
    step = (end - begin) / count
    failing = {n * count // errors for n in range(errors)} if errors else set()
    return [
        Entry(begin + i * step, color, 500 if i in failing else 200, seconds) for i in range(count)
    ]


OLD = entries(300, begin=SWAP - 30, end=SWAP)


def judge(new: Sequence[Entry], old: Sequence[Entry] = OLD, *, after: float = 10) -> str | None:
    return worse(old, new, watched_since=SWAP, now=SWAP + after, limits=LIMITS)


def test_a_release_as_good_as_the_one_before_is_not_worse() -> None:
    assert judge(entries(100, begin=SWAP, end=SWAP + 10)) is None


def test_more_errors_are_worse_and_the_sentence_has_the_figures() -> None:
    found = judge(entries(100, errors=10, begin=SWAP, end=SWAP + 4), after=4)

    assert found == (
        "10 of 100 answers in the last 5 s were 5xx (10.0 %); before it was 0 of 300 (0.0 %)."
    )


def test_errors_that_were_there_before_are_not_this_releases() -> None:
    old = entries(300, errors=30, begin=SWAP - 30, end=SWAP)

    assert judge(entries(100, errors=12, begin=SWAP, end=SWAP + 10), old) is None


def test_a_bad_window_late_in_the_bake_is_not_hidden_by_the_good_time_before_it() -> None:
    new = entries(1000, begin=SWAP, end=SWAP + 20)
    new += entries(25, errors=5, begin=SWAP + 20, end=SWAP + 25)

    assert "in the last 5 s" in str(judge(new, after=25))


def test_what_fails_for_a_moment_only_is_not_this_releases_fault() -> None:
    moment = entries(10, errors=10, begin=SWAP + 3, end=SWAP + 4)
    longer = entries(20, errors=20, begin=SWAP + 3, end=SWAP + 5.2)
    good = entries(60, begin=SWAP, end=SWAP + 6)

    assert judge(good + moment, after=6) is None
    assert judge(good + longer, after=6)


def test_a_slow_trickle_of_errors_is_seen_over_the_whole_time() -> None:
    found = judge(entries(30, errors=6, begin=SWAP, end=SWAP + 25), after=25)

    assert "6 of 30 answers since the swap" in str(found)


@pytest.mark.parametrize(("count", "errors"), [(19, 19), (20, 2)])
def test_of_few_requests_or_few_errors_nothing_is_concluded(count: int, errors: int) -> None:
    assert judge(entries(count, errors=errors, begin=SWAP, end=SWAP + 4), after=4) is None


def test_without_a_request_before_errors_still_count() -> None:
    assert judge(entries(30, errors=10, begin=SWAP, end=SWAP + 4), [], after=4)


def test_a_release_that_takes_much_longer_is_worse() -> None:
    found = judge(entries(300, seconds=0.9, begin=SWAP, end=SWAP + 20), after=20)

    assert "took longer than 900 ms; before it was 30 ms" in str(found)


@pytest.mark.parametrize("seconds", [0.25, 0.08])
def test_slower_by_what_nobody_notices_is_not_worse(seconds: float) -> None:
    assert judge(entries(300, seconds=seconds, begin=SWAP, end=SWAP + 20), after=20) is None


def test_slower_by_less_than_the_factor_is_not_worse() -> None:
    old = entries(300, seconds=0.5, begin=SWAP - 30, end=SWAP)

    assert judge(entries(300, seconds=1.4, begin=SWAP, end=SWAP + 20), old, after=20) is None


def test_the_first_seconds_may_be_slow() -> None:
    assert judge(entries(300, seconds=2.0, begin=SWAP, end=SWAP + 5), after=5) is None


def test_of_few_requests_before_nothing_is_concluded_about_the_time() -> None:
    old = entries(49, begin=SWAP - 30, end=SWAP)

    assert judge(entries(300, seconds=2.0, begin=SWAP, end=SWAP + 20), old, after=20) is None


def test_requests_that_met_a_shared_trouble_count_for_nothing() -> None:
    trouble = [Span(SWAP + 4, SWAP + 6)]
    before = Entry(SWAP + 3.9, Color.GREEN, 500, 0.1)
    during = Entry(SWAP + 5, Color.GREEN, 500, 0.1)
    over_it = Entry(SWAP + 9, Color.GREEN, 500, 4.0)
    after = Entry(SWAP + 7, Color.GREEN, 500, 0.1)

    assert outside([before, during, over_it, after], trouble) == [before, after]


def test_nine_in_ten_answers_are_within_the_time_that_is_said() -> None:
    times = [i / 100 for i in range(1, 101)]

    figures = Figures.of([Entry(SWAP, Color.GREEN, 200, t) for t in reversed(times)])

    assert figures.as_json() == {"requests": 100, "errors": 0, "p90_ms": 900}
    assert Figures.of([]).as_json() == {"requests": 0, "errors": 0, "p90_ms": 0}


def test_lines_are_put_together_from_pieces_that_end_anywhere() -> None:
    assert list(split_lines([b"on", b"e\ntwo\nth", b"ree\n", b"half"])) == [
        b"one",
        b"two",
        b"three",
    ]
