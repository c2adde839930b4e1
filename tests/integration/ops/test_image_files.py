"""Reading files of an image, on the real engine."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

import docker
from apps.ops.stack.engine import READING_LABEL, Engine

IMAGE = "python:3.13-slim-trixie"


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(f"reading-{secrets.token_hex(4)}")
    yield engine
    engine.remove_readers()


def test_the_files_below_a_directory_are_read_and_nothing_is_left(engine: Engine) -> None:
    files = dict(engine.read_tree(IMAGE, "/etc/apt"))

    assert all(files), "paths below the directory"
    assert any(files.values())
    assert engine.remove_readers() == 0


def test_what_a_killed_reading_left_is_removed_and_nobody_elses(engine: Engine) -> None:
    client = docker.from_env()
    left = client.containers.create(IMAGE, ["true"], labels={READING_LABEL: engine.project})
    other = client.containers.create(IMAGE, ["true"], labels={READING_LABEL: "somebody-else"})
    try:
        assert engine.remove_readers() == 1
        assert engine.remove_readers() == 0
        assert client.containers.list(all=True, filters={"id": left.id}) == []
        assert client.containers.list(all=True, filters={"id": other.id}) != []
    finally:
        other.remove(force=True)
