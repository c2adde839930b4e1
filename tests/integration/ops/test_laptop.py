"""`just` on a laptop and on a server: the same words, over SSH or right there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ops.remote_site import Site
from tests.rig.sshd import Sshd, make_key
from tests.servers import HUNG_SECONDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
BUILD_SECONDS = 600.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.destroy()


@pytest.fixture
def laptop(tmp_path: Path, site: Site) -> Iterator[Path]:
    """A checkout on a laptop, whose `.env` knows the server."""
    # Beneath the repository: containers are given directories by the paths that the host has.
    home = Path(os.environ.get("SOURCE", ROOT), ".cache", f"laptop-{site.project}")
    checkout = home / "site"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".git", ".cache", "tests", "docs", "*.pyc", ".env*"),
    )
    sshd = Sshd().allow(make_key(home / ".ssh" / "id_ed25519"))
    try:
        sshd.start()
        (home / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line())
        server = f"here=root@127.0.0.1:{sshd.port}{site.directory}"
        (checkout / ".env").write_text(f"OPS_SERVERS={server}   # ours\n")
        yield checkout
    finally:
        sshd.destroy()
        shutil.rmtree(home)


def just(
    checkout: Path, *words: str, seconds: float = HUNG_SECONDS * 2, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return subprocess.run(
        ["just", *words],
        cwd=checkout,
        env={**kept, "HOME": str(checkout.parent), "USER": "ada", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def make_environment(checkout: Path) -> None:
    """A virtual environment that has what this one has."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", ".venv"],
        cwd=checkout,
        timeout=HUNG_SECONDS,
        check=True,
    )


def test_from_a_laptop_it_goes_over_ssh_through_a_virtual_environment(
    laptop: Path, site: Site
) -> None:
    make_environment(laptop)

    done = just(laptop, "status", "--format", "two words", OPS_REQUESTED_BY="ada@laptop")

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["by"] == "ada@laptop"
    assert said["words"] == ["--format", "two words"]


def test_without_one_it_runs_in_a_container_that_has_the_users_keys(
    laptop: Path, site: Site
) -> None:
    done = just(laptop, "status", seconds=BUILD_SECONDS, OPS_REQUESTED_BY="ada@laptop")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["by"] == "ada@laptop"
    assert "building an image" not in just(laptop, "status").stderr


def test_exit_codes_come_through_and_just_adds_nothing(laptop: Path) -> None:
    make_environment(laptop)

    done = just(laptop, "deploy")

    assert done.returncode == 1
    assert "It broke." in done.stdout
    assert "error: Recipe" not in done.stderr


def test_on_the_server_it_runs_there(laptop: Path, site: Site) -> None:
    for name in ("justfile", "docker/laptop"):
        (site.directory / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, site.directory / name)
    (site.directory / ".env").write_text("COMPOSE_FILE=compose.yml\n#OPS_SERVERS=\n")

    done = just(site.directory, "status", "now", HOME=str(laptop.parent))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["words"] == ["now"]


def test_a_checkout_that_knows_no_server_says_what_to_write(laptop: Path) -> None:
    make_environment(laptop)
    (laptop / ".env").write_text("")

    done = just(laptop, "deploy")

    assert done.returncode == 2
    assert "OPS_SERVERS names no server" in done.stderr
