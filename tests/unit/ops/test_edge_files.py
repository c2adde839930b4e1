from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.colors import Color
from apps.ops.edge import files
from apps.ops.edge.files import PREVIEW_SECONDS, Edge


def everything(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(tmp_path)


def test_an_empty_edge_means_blue_and_no_maintenance(edge: Edge) -> None:
    assert edge.live() is Color.BLUE
    assert not edge.in_maintenance()


def test_a_directory_that_is_not_there_means_the_same(tmp_path: Path) -> None:
    assert Edge(tmp_path / "nowhere").live() is Color.BLUE


def test_green_is_live_through_one_file_that_caddy_looks_for(tmp_path: Path, edge: Edge) -> None:
    edge.point_to(Color.GREEN)

    assert edge.live() is Color.GREEN
    assert everything(tmp_path) == ["live/green"]


def test_blue_is_live_through_its_absence(tmp_path: Path, edge: Edge) -> None:
    edge.point_to(Color.GREEN)
    edge.point_to(Color.BLUE)

    assert edge.live() is Color.BLUE
    assert everything(tmp_path) == []


def test_maintenance_is_a_file_too(tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "maintenance").touch()

    assert edge.in_maintenance()


@given(st.lists(st.sampled_from(Color)))
def test_whatever_is_pointed_to_in_whatever_order_the_last_one_is_live_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, colors: list[Color]
) -> None:
    directory = tmp_path_factory.mktemp("edge")
    edge = Edge(directory)
    for color in colors:
        edge.point_to(color)
        assert Edge(directory).live() is color

    expected = colors[-1] if colors else Color.BLUE
    assert everything(directory) == (["live/green"] if expected is Color.GREEN else [])


def test_what_a_killed_swap_left_behind_neither_counts_nor_is_in_the_way(
    tmp_path: Path, edge: Edge
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / ".green.new").touch()
    assert edge.live() is Color.BLUE

    edge.point_to(Color.GREEN)

    assert everything(tmp_path) == ["live/green"]


def test_a_swap_is_on_the_disk_before_it_is_seen_and_the_directory_after(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def spied(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            given = Path(f"/proc/self/fd/{args[0]}").readlink() if name == "fsync" else args[0]
            order.append(f"{name} {Path(str(given)).name}")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(files.os, "fsync", spied("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", spied("rename", Path.rename))
    edge.point_to(Color.GREEN)
    monkeypatch.undo()

    assert order[:3] == ["fsync .green.new", "rename .green.new", "fsync live"]


@pytest.fixture
def seen_meanwhile(tmp_path: Path) -> Iterator[set[str]]:
    """Every name that was ever in `live/`, looked at as fast as it goes."""
    seen, done = set[str](), Event()

    def look() -> None:
        while not done.is_set():
            seen.update(entry.name for entry in (tmp_path / "live").iterdir())

    (tmp_path / "live").mkdir()
    thread = Thread(target=look)
    thread.start()
    yield seen
    done.set()
    thread.join()


def test_readers_see_the_file_or_not_and_never_under_another_name_that_caddy_knows(
    edge: Edge, seen_meanwhile: set[str]
) -> None:
    for _ in range(50):
        edge.point_to(Color.GREEN)
        edge.point_to(Color.BLUE)

    assert seen_meanwhile <= {"green", ".green.new"}


def test_a_preview_lasts_as_long_as_it_is_used(tmp_path: Path, edge: Edge) -> None:
    with edge.preview(Color.GREEN) as token:
        assert everything(tmp_path) == [f"preview/green/t-{token}"]

    assert everything(tmp_path) == []


def test_a_preview_ends_with_an_error_too(tmp_path: Path, edge: Edge) -> None:
    with pytest.raises(ZeroDivisionError), edge.preview(Color.BLUE):
        raise ZeroDivisionError

    assert everything(tmp_path) == []


def test_a_token_is_one_that_the_caddyfile_lets_through(edge: Edge) -> None:
    caddyfile = (Path(__file__).parents[3] / "docker/caddy/Caddyfile").read_text()
    patterns = set(re.findall(r"\[A-Za-z0-9_-\]\{\d+\}", caddyfile))
    assert len(patterns) == 1
    tokens = set()
    for _ in range(50):
        with edge.preview(Color.GREEN) as token:
            assert re.fullmatch(patterns.copy().pop(), token)
            tokens.add(token)

    assert len(tokens) == 50


def test_previews_that_nobody_ended_are_swept_by_the_next_one(tmp_path: Path, edge: Edge) -> None:
    left = tmp_path / "preview" / "blue"
    left.mkdir(parents=True)
    for name, age in (("t-old", PREVIEW_SECONDS + 60), ("t-young", PREVIEW_SECONDS - 60)):
        (left / name).touch()
        os.utime(left / name, (time() - age, time() - age))

    with edge.preview(Color.GREEN):
        pass

    assert everything(tmp_path) == ["preview/blue/t-young"]


def test_previews_leave_the_traffic_where_it_is(edge: Edge) -> None:
    edge.point_to(Color.GREEN)

    with edge.preview(Color.BLUE):
        assert edge.live() is Color.GREEN
