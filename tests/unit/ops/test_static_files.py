from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings as site
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage

from apps.ops.deploys.static_files import forget, missing, remember, remembered, unnamed
from apps.ops.deploys.steps.static import MANIFEST, hashed_names, publish

CSS, LOGO = "site.3f2c9a17d04b.css", "img/logo.0123456789ab.svg"


def manifest(**paths: str) -> bytes:
    return json.dumps({"paths": paths, "version": "1.1", "hash": "x"}).encode()


def everything(directory: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()
    }


def test_hashed_are_the_names_that_the_manifest_lists() -> None:
    files = {
        MANIFEST: manifest(**{"site.css": CSS, "img/logo.svg": LOGO}),
        "site.css": b"a",
        CSS: b"a",
        "img/logo.svg": b"b",
        LOGO: b"b",
        "looks.aaaaaaaaaaaa.hashed": b"c",
    }

    assert hashed_names(files) == {CSS, LOGO}


def test_a_name_that_the_manifest_lists_and_the_image_lacks_is_not_published() -> None:
    assert hashed_names({MANIFEST: manifest(**{"site.css": CSS})}) == set()


def test_without_a_manifest_nothing_is_hashed() -> None:
    assert hashed_names({"site.css": b"a"}) == set()


def test_what_djangos_own_storage_writes_is_understood(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("body { background: url(logo.svg) }")
    (tmp_path / "logo.svg").write_text("<svg/>")
    storage = ManifestStaticFilesStorage(location=tmp_path, base_url=site.STATIC_URL)
    list(storage.post_process({name: (storage, name) for name in ("site.css", "logo.svg")}))

    hashed = hashed_names(everything(tmp_path))

    assert len(hashed) == 2
    assert hashed == {name for name in everything(tmp_path) if name.count(".") == 2}
    assert storage.exists(storage.stored_name("site.css"))


def test_files_are_published_below_directories_that_are_made(tmp_path: Path) -> None:
    assert publish({CSS: b"a", LOGO: b"b"}, tmp_path / "static") == 2

    assert everything(tmp_path / "static") == {CSS: b"a", LOGO: b"b"}


def test_everybody_may_read_them_and_only_the_owner_write(tmp_path: Path) -> None:
    publish({CSS: b"a"}, tmp_path)

    assert (tmp_path / CSS).stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    publish({CSS: b"a"}, tmp_path)
    before = (tmp_path / CSS).stat()

    assert publish({CSS: b"a"}, tmp_path) == 0
    assert (tmp_path / CSS).stat() == before


@pytest.mark.parametrize("content", [b"b", b"longer", b""])
def test_a_file_with_other_content_is_replaced_in_one_go(tmp_path: Path, content: bytes) -> None:
    publish({"plain.css": b"a"}, tmp_path)
    with (tmp_path / "plain.css").open("rb") as reader:
        assert publish({"plain.css": content}, tmp_path) == 1

        assert reader.read() == b"a"
    assert everything(tmp_path) == {"plain.css": content}


def test_what_another_release_published_stays(tmp_path: Path) -> None:
    publish({"old.aaaaaaaaaaaa.css": b"old"}, tmp_path)
    publish({CSS: b"new"}, tmp_path)

    assert everything(tmp_path) == {"old.aaaaaaaaaaaa.css": b"old", CSS: b"new"}


def test_what_a_killed_publication_left_behind_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".{CSS}.new").write_bytes(b"hal")

    publish({CSS: b"whole"}, tmp_path)

    assert everything(tmp_path) == {CSS: b"whole"}


def test_what_a_release_named_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    remember(tmp_path, "new", [LOGO, CSS])
    remember(tmp_path, "old", [])

    assert remembered(tmp_path) == {"new": {CSS, LOGO}, "old": set()}

    forget(tmp_path, "old")
    forget(tmp_path, "old")
    assert remembered(tmp_path).keys() == {"new"}


def test_nothing_is_remembered_before_the_first_release(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / ".killed.new").write_text("[")

    assert remembered(tmp_path) == {}


def test_only_what_no_kept_release_names_is_unnamed() -> None:
    names = {"old": {"a", "b"}, "older": {"a", "c"}, "live": {"b"}}

    assert unnamed(names, {"live"}) == {"a", "c"}
    assert unnamed(names, {"live", "old", "unknown"}) == {"c"}
    assert unnamed({}, set()) == set()


def test_missing_are_the_names_without_a_file(tmp_path: Path) -> None:
    publish({CSS: b"a"}, tmp_path)

    assert missing([LOGO, CSS], tmp_path) == [LOGO]
