"""Pages of the releases before find their files, through the real Caddy; nobody's files go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.ops.deploys.context import Deploy
from apps.ops.deploys.static_files import remember, remembered
from apps.ops.deploys.steps.prune import Prune, remove_old_files
from apps.ops.deploys.steps.static import (
    MANIFEST,
    Static,
    check_old_assets,
    plain_files,
    publish,
)
from apps.ops.errors import StepFailed
from apps.ops.stack.engine import Engine
from tests.integration.ops.conftest import NEW, OLD
from tests.integration.ops.front_door import FrontDoor
from tests.servers import PostgresServer

GONE = "c" * 40
SHARED, OLD_CSS, NEW_CSS = "logo.000000000000.svg", "a.aaaaaaaaaaaa.css", "a.bbbbbbbbbbbb.css"
GONE_CSS = "a.cccccccccccc.css"


def image(*hashed: str) -> dict[str, bytes]:
    paths = {f"{name[0]}{n}.css": name for n, name in enumerate(hashed)}
    manifest = json.dumps({"paths": paths}).encode()
    return {MANIFEST: manifest, "a.css": b"plain", **{name: name.encode() for name in hashed}}


class EngineOf(Engine):
    """Docker is not there in these tests: which images it would have."""

    def __init__(self, **images: dict[str, bytes]) -> None:
        super().__init__("test")
        self.images = images

    def read_tree(self, image: str, path: str) -> Iterator[tuple[str, bytes]]:
        yield from self.images[image.partition(":")[2]].items()

    def image_id(self, tag: str) -> str | None:
        return tag if tag in self.images else None

    def releases_with_images(self) -> dict[str, list[str]]:
        return {release: [release] for release in self.images}

    def releases_in_use(self) -> set[str]:
        return set()


@pytest.fixture
def front_door(tmp_path: Path) -> Iterator[FrontDoor]:
    directory = tmp_path / "front"
    directory.mkdir()
    door = FrontDoor(directory).start()
    try:
        yield door
    finally:
        door.stop()


@pytest.fixture
def skewed(deploy: Deploy, front_door: FrontDoor) -> Deploy:
    """The old release was deployed, then the new one; Caddy serves what they published."""
    deploy.settings = replace(
        deploy.settings,
        static_dir=front_door.directory / "static",
        probe_address=front_door.probe_address,
        site_host="site.test",
    )
    deploy.engine = EngineOf(**{OLD: image(SHARED, OLD_CSS), NEW: image(SHARED, NEW_CSS)})
    remember(deploy.settings.state_dir, OLD, {SHARED, OLD_CSS})
    publish({SHARED: SHARED.encode(), OLD_CSS: b"old"}, deploy.settings.static_dir)
    Static().run(deploy)
    return deploy


def test_files_of_both_releases_answer_and_there_is_nothing_to_say(
    skewed: Deploy, front_door: FrontDoor
) -> None:
    assert check_old_assets(skewed, {OLD, NEW}) == []

    for name in (SHARED, OLD_CSS, NEW_CSS):
        assert front_door.get(f"/static/{name}").status == 200
    assert not (skewed.settings.static_dir / "a.css").exists()


def test_a_file_that_went_missing_comes_back_from_its_releases_image(
    skewed: Deploy, front_door: FrontDoor
) -> None:
    (skewed.settings.static_dir / OLD_CSS).unlink()

    assert check_old_assets(skewed, {OLD, NEW}) == []
    assert front_door.get(f"/static/{OLD_CSS}").status == 200


def test_one_that_cannot_come_back_is_a_warning_that_names_it(skewed: Deploy) -> None:
    (skewed.settings.static_dir / OLD_CSS).unlink()
    skewed.engine = EngineOf(**{NEW: image(SHARED, NEW_CSS)})

    gone, answered = check_old_assets(skewed, {OLD, NEW})

    assert gone.startswith(f"1 static files of release {OLD[:12]} are gone")
    assert OLD_CSS in gone
    assert answered.startswith(f"/static/{OLD_CSS}, which pages of the release before name, ")
    assert "404" in answered


def test_only_files_that_no_kept_release_names_are_removed(skewed: Deploy) -> None:
    static = skewed.settings.static_dir
    publish({GONE_CSS: b"gone", "theirs.dddddddddddd.css": b"?"}, static)
    remember(skewed.settings.state_dir, GONE, {GONE_CSS, SHARED})

    assert remove_old_files(skewed, {OLD, NEW}) == 1
    assert remove_old_files(skewed, {OLD, NEW}) == 0

    left = {path.name for path in static.iterdir()}
    assert left == {SHARED, OLD_CSS, NEW_CSS, "theirs.dddddddddddd.css"}
    assert remembered(skewed.settings.state_dir).keys() == {OLD, NEW}


def test_a_kept_release_from_before_names_were_written_down_loses_nothing(skewed: Deploy) -> None:
    (skewed.settings.state_dir / "static" / f"{OLD}.json").unlink()
    remember(skewed.settings.state_dir, GONE, {OLD_CSS})

    assert remove_old_files(skewed, {OLD, NEW}) == 0
    assert (skewed.settings.static_dir / OLD_CSS).exists()


def test_without_postgres_nothing_is_removed(skewed: Deploy, database: PostgresServer) -> None:
    publish({GONE_CSS: b"gone"}, skewed.settings.static_dir)
    remember(skewed.settings.state_dir, GONE, {GONE_CSS})
    database.stop()

    with pytest.raises(StepFailed, match="Postgres does not answer"):
        Prune().run(skewed)
    assert (skewed.settings.static_dir / GONE_CSS).exists()


def test_another_process_finds_the_plain_files_in_the_image(skewed: Deploy) -> None:
    skewed.plain_static = {}

    assert plain_files(skewed) == {"a.css": b"plain"}
    assert skewed.intended("static") == {"release": NEW}
