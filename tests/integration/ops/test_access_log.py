"""What the bake reads out of the lines that the real Caddy writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.bake.access_log import Entry, parse
from apps.ops.edge.probe import ask
from tests.integration.ops.front_door import HOST, FrontDoor
from tests.servers import wait_until


@pytest.fixture
def door(tmp_path: Path) -> Iterator[FrontDoor]:
    door = FrontDoor(tmp_path).start()
    yield door
    door.stop()


def entries(door: FrontDoor, path: str) -> list[Entry]:
    """What is read from a path's lines, which are waited for."""
    door.access_log(path)
    lines = (door.directory / "log").read_bytes().splitlines()
    return [entry for line in lines if path.encode() in line and (entry := parse(line))]


def test_an_answer_has_its_colour_its_status_and_its_time(door: FrontDoor) -> None:
    begun = time()
    door.get("/status/200")
    door.edge.point_to(Color.GREEN)
    door.get("/status/500")

    (good,), (bad,) = entries(door, "/status/200"), entries(door, "/status/500")

    assert (good.color, good.status, good.is_error) == (Color.BLUE, 200, False)
    assert (bad.color, bad.status, bad.is_error) == (Color.GREEN, 500, True)
    assert begun <= good.ended_at <= bad.ended_at <= time()
    assert 0 < good.seconds < 30


def test_the_page_that_caddy_shows_for_a_colour_that_is_away_is_that_colours_error(
    door: FrontDoor,
) -> None:
    door.take_down("django-a")
    door.get("/away")

    (entry,) = entries(door, "/away")

    assert (entry.color, entry.status) == (Color.BLUE, 503)


def test_the_maintenance_page_is_no_colours_answer(door: FrontDoor) -> None:
    (door.directory / "edge/maintenance").touch()
    assert door.get("/maintained").status == 503

    assert entries(door, "/maintained") == []


def test_our_own_probes_are_left_out(door: FrontDoor) -> None:
    ask(door.probe_address, "/probed", host=HOST)

    assert entries(door, "/probed") == []


def test_other_lines_and_halves_of_lines_are_left_out(door: FrontDoor) -> None:
    door.get("/whole")
    wait_until(lambda: entries(door, "/whole"))
    lines = (door.directory / "log").read_bytes().splitlines()
    whole = next(line for line in lines if parse(line))

    assert parse(whole[: whole.index(b'"color"') + 9]) is None
    assert parse(b"") is None
    assert len([line for line in lines if parse(line)]) == 1
