"""Images by digest, with a registry of our own on loopback."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from apps.ops.edge.probe import ask
from apps.ops.stack.images import Images
from tests.servers import free_port, wait_until

ROOT = Path(__file__).parents[3]
CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry that has nothing yet."""
    root, port = tmp_path_factory.mktemp("registry"), free_port()
    (root / "config.yml").write_text(CONFIG.format(root=root, port=port))
    with subprocess.Popen(
        ["docker-registry", "serve", str(root / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        address = f"127.0.0.1:{port}"
        wait_until(lambda: ask(address, "/v2/", host=address).status == 200)
        yield address
        process.terminate()


def push(name: str) -> None:
    """Another image of this name, and nothing of it here."""
    dockerfile = f'FROM scratch\nLABEL number={secrets.token_hex(4)}\nCMD ["/none"]\n'
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run(["docker", "build", "--tag", name, "-"], input=dockerfile, **run)
    subprocess.run(["docker", "push", name], **run)
    subprocess.run(["docker", "rmi", name], **run)


def pin(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [site / "docker/pin-images", *arguments]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.fixture
def site(registry: str, tmp_path: Path) -> Path:
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/pin-images", tmp_path / "docker")
    (tmp_path / "Dockerfile").write_text(
        f"FROM --platform=linux/amd64 {registry}/base:1 AS base\n"
        f"FROM base AS app\nCOPY --from={registry}/other:2 /a /a\nCOPY --from=base /b /b\n"
    )
    (tmp_path / "compose.yml").write_text(
        f"services:\n  a:\n    image: {registry}/base:1\n  b:\n    image: ${{PROJECT}}:blue\n"
    )
    for name in ("base:1", "other:2"):
        push(f"{registry}/{name}")
    return tmp_path


def test_every_name_gets_its_digest_and_loses_it_again(site: Path, registry: str) -> None:
    files = ("Dockerfile", "compose.yml")
    before = [(site / name).read_text() for name in files]

    assert pin(site, *files).returncode == 0
    dockerfile, compose = ((site / name).read_text() for name in files)
    base = re.search(rf"{registry}/base:1@sha256:[0-9a-f]{{64}}", compose)
    assert base
    assert f"FROM --platform=linux/amd64 {base[0]} AS base\n" in dockerfile
    assert re.search(rf"--from={registry}/other:2@sha256:[0-9a-f]{{64}} /a /a\n", dockerfile)
    assert "FROM base AS app\n" in dockerfile
    assert "--from=base /b /b\n" in dockerfile
    assert "image: ${PROJECT}:blue\n" in compose

    push(f"{registry}/base:1")
    assert pin(site, *files).returncode == 0
    again = (site / "compose.yml").read_text()
    assert again != compose
    assert again.count("@sha256:") == 1

    assert pin(site, "--unpin", *files).returncode == 0
    assert [(site / name).read_text() for name in files] == before


def test_when_the_registry_does_not_tell_nothing_is_changed(site: Path, registry: str) -> None:
    (site / "compose.yml").write_text(f"    image: {registry}/nobody:3\n")
    before = (site / "Dockerfile").read_text()

    done = pin(site, "Dockerfile", "compose.yml")

    assert done.returncode == 1
    assert f"the registry does not tell of {registry}/nobody:3" in done.stderr
    assert "nothing was changed" in done.stderr
    assert (site / "Dockerfile").read_text() == before


def test_a_newer_image_in_the_registry_is_noticed(registry: str) -> None:
    name, images = f"{registry}/noticed:1", Images("nobody")
    push(name)
    assert images.pull(name, seconds=30) == ""
    container = docker.from_env().containers.create(name)
    try:
        assert images.has_newer(str(container.id), seconds=30) == (False, "")
        push(name)
        assert images.has_newer(str(container.id), seconds=30) == (True, "")
    finally:
        container.remove()


def test_what_cannot_be_pulled_says_why(registry: str) -> None:
    assert "not found" in Images("nobody").pull(f"{registry}/nobody:1", seconds=30)
