from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops import durable
from apps.ops.colors import Color
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
    assert everything(tmp_path) == ["live/.green"]


def test_to_blue_and_back_to_green_needs_no_room_on_the_disk(tmp_path: Path, edge: Edge) -> None:
    edge.point_to(Color.GREEN)
    inode = (tmp_path / "live" / "green").stat().st_ino

    edge.point_to(Color.BLUE)
    edge.point_to(Color.GREEN)

    assert (tmp_path / "live" / "green").stat().st_ino == inode
    assert everything(tmp_path) == ["live/green"]


def test_what_is_moved_by_hand_counts_and_is_moved_on_from(tmp_path: Path, edge: Edge) -> None:
    green = tmp_path / "live" / "green"
    edge.point_to(Color.GREEN)
    green.unlink()
    assert edge.live() is Color.BLUE
    edge.point_to(Color.BLUE)
    edge.point_to(Color.GREEN)
    edge.point_to(Color.BLUE)
    green.touch()
    assert edge.live() is Color.GREEN

    edge.point_to(Color.GREEN)
    edge.point_to(Color.BLUE)

    assert everything(tmp_path) == ["live/.green"]


@pytest.fixture
def nothing_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directory: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "sync", fail)


@pytest.mark.usefixtures("nothing_syncs")
def test_a_swap_that_was_made_and_could_not_be_synced_was_made(tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "live").mkdir()

    for color in (Color.GREEN, Color.BLUE, Color.GREEN):
        edge.point_to(color)
        assert edge.live() is color


def test_a_swap_that_could_not_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "edge").write_text("a file")

    with pytest.raises(OSError, match="edge"):
        Edge(tmp_path / "edge").point_to(Color.GREEN)


def test_maintenance_is_a_file_too(tmp_path: Path, edge: Edge) -> None:
    edge.maintenance_on(by="ada", reason="new disks", deployment="7")

    assert edge.in_maintenance()
    assert everything(tmp_path) == ["maintenance"]
    page = edge.maintenance()
    assert page is not None
    assert (page.by, page.reason, page.deployment) == ("ada", "new disks", "7")
    assert abs(page.since.timestamp() - time()) < 60

    edge.maintenance_off()
    assert edge.maintenance() is None
    assert everything(tmp_path) == []


def test_a_page_that_is_up_gets_another_name_and_keeps_its_time(tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "maintenance").touch()
    os.utime(tmp_path / "maintenance", (86400, 86400))

    edge.maintenance_on(by="grace", reason="it takes longer")

    page = edge.maintenance()
    assert page is not None
    assert (page.by, page.since.timestamp()) == ("grace", 86400)


@pytest.mark.parametrize(
    "text", ["", "\n", "back at nine", "[]", "{}", '{"by": 1}', "null", "\x00"]
)
def test_a_page_that_was_put_up_by_hand_is_up(tmp_path: Path, edge: Edge, text: str) -> None:
    (tmp_path / "maintenance").write_text(text)

    page = edge.maintenance()

    assert edge.in_maintenance()
    assert page is not None
    assert (page.by, page.reason, page.deployment) == ("", "", "")


def test_to_take_down_a_page_that_is_not_up_does_nothing(edge: Edge) -> None:
    edge.maintenance_off()

    assert not edge.in_maintenance()


@given(st.lists(st.sampled_from(Color)))
def test_whatever_is_pointed_to_in_whatever_order_the_last_one_is_live_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, colors: list[Color]
) -> None:
    directory = tmp_path_factory.mktemp("edge")
    edge = Edge(directory)
    for color in colors:
        edge.point_to(color)
        assert Edge(directory).live() is color

    seen_by_caddy = [name for name in everything(directory) if name != "live/.green"]
    expected = colors[-1] if colors else Color.BLUE
    assert seen_by_caddy == (["live/green"] if expected is Color.GREEN else [])


def test_what_a_killed_swap_left_behind_neither_counts_nor_is_in_the_way(
    tmp_path: Path, edge: Edge
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / ".green.new").touch()
    assert edge.live() is Color.BLUE

    edge.point_to(Color.GREEN)

    assert everything(tmp_path) == ["live/green"]


def test_a_swap_is_on_the_disk_before_it_is_seen_and_the_directory_after(
    tmp_path: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def spied(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            given = Path(f"/proc/self/fd/{args[0]}").readlink() if name == "fsync" else args[0]
            order.append(f"{name} {Path(str(given)).name}")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(durable.os, "fsync", spied("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", spied("rename", Path.rename))
    edge.point_to(Color.GREEN)
    monkeypatch.undo()

    assert order[-3:] == ["fsync .green.new", "rename .green.new", "fsync live"]
    # What keeps a directory that is made is its parent.
    assert order[-4] == f"fsync {tmp_path.name}"


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

    assert seen_meanwhile <= {"green", ".green", ".green.new"}


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
