"""A container's log that is read again after each cut: each line once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile

from hypothesis import given
from hypothesis import strategies as st

from apps.ops.remote.log_stream import LogStream


def stamp(second: int) -> bytes:
    return b"2026-11-23T15:12:%02d.000000001Z" % second


def log(seconds: list[int]) -> bytes:
    return b"".join(
        b"%s line %d\n" % (stamp(second), number) for number, second in enumerate(seconds)
    )


def docker_logs(log: bytes, since: bytes) -> Iterator[bytes]:
    """As Docker does it: from the first line of that very time on."""
    return dropwhile(lambda line: line[:30] < since, log.splitlines(True))


@given(
    # A clock can be set back.
    seconds=st.lists(st.integers(0, 59), max_size=12) | st.lists(st.integers(0, 59)).map(sorted),
    cuts=st.lists(st.integers(0, 800), max_size=6),
    chunk=st.integers(1, 50),
)
def test_each_line_is_shown_once_wherever_the_link_is_cut(
    seconds: list[int], cuts: list[int], chunk: int
) -> None:
    shown, said = list[bytes](), list[bytes]()
    stream = LogStream(shown.append, said.append)
    whole = log(seconds)
    for cut in [*cuts, len(whole)]:
        since = stream.since.encode()
        there = b"".join(docker_logs(whole, since))[:cut]
        stream.begin()
        for at in range(0, len(there), chunk):
            stream.feed(there[at : at + chunk])
    assert shown == [b"line %d" % number for number in range(len(seconds))]
    assert said == []


def test_a_long_line_is_put_together_from_dockers_parts() -> None:
    shown = list[bytes]()
    stream = LogStream(shown.append, shown.append)
    stream.feed(b"%s %s%s %s\n" % (stamp(1), b"a" * 20, stamp(1), b"b" * 20))
    assert shown == [b"a" * 20 + b"b" * 20]


def test_an_empty_line_and_one_without_an_end_are_lines() -> None:
    shown = list[bytes]()
    stream = LogStream(shown.append, shown.append)
    stream.feed(b"%s \n%s last" % (stamp(1), stamp(2)))
    stream.end()
    assert shown == [b"", b"last"]


def test_what_docker_says_is_no_line_of_the_container() -> None:
    shown, said = list[bytes](), list[bytes]()
    stream = LogStream(shown.append, said.append)
    stream.feed(b"Error response from daemon: No such container\n")
    assert (shown, len(said)) == ([], 1)
