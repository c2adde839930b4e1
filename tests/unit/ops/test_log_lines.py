"""Log lines: put together from what the engine sends, and made harmless to look at."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.gate import shown
from apps.ops.stack.log_reader import MAX_LINE, PART, split_log

TIME = b"2026-11-23T12:00:00.123456789Z "


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(0, 200)))
def test_lines_are_whole_wherever_the_pieces_end(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    text = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]

    assert list(split_log(pieces)) == lines


def test_a_last_line_without_an_end_is_a_line() -> None:
    assert list(split_log([b"one\ntw", b"o"])) == [b"one", b"two"]


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5])
def test_parts_with_times_of_their_own_are_one_line(size: int) -> None:
    said = bytes(ord("a") + n % 26 for n in range(size))
    parts = [TIME + said[n : n + PART] for n in range(0, size, PART)]

    assert list(split_log([*parts, b"\n", TIME + b"next\n"])) == [TIME + said, TIME + b"next"]


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    def endless() -> object:
        for _ in range(200):
            yield b"x" * 100_000
        yield b"\nnext\n"

    long, after = split_log(endless())  # type: ignore[arg-type]

    assert len(long) <= MAX_LINE
    assert after == b"next"


@given(st.text())
def test_nothing_that_moves_a_cursor_is_left(text: str) -> None:
    assert not any(ord(c) < 32 and c != "\t" for c in shown(text))
    assert not any(127 <= ord(c) < 160 or c in "\u202e\u2066" for c in shown(text))


def test_what_is_harmless_stays_as_it_is() -> None:
    said = "GET /käse\t200 👩‍🚀 [bold]"

    assert shown(said) == said
