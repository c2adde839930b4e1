"""What a server's Compose quotes of its `.env` is not shown on a laptop that knows none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.ops.redact import HIDDEN
from tests.integration.ops.provisioned_server import SshServer
from tests.integration.ops.remote_site import Site
from tests.servers import HUNG_SECONDS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    (site.directory / ".env").write_text("POSTGRES_PASSWORD=hunter2-and-more${\n")
    yield site
    site.destroy()


@pytest.fixture
def environment(tmp_path: Path, site: Site) -> Iterator[dict[str, str]]:
    server = SshServer()
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(server.known_hosts_line())
    (tmp_path / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {server.key}\n")
    try:
        yield {
            **os.environ,
            "HOME": str(tmp_path),
            "OPS_SERVERS": f"production=127.0.0.1:{server.port}{site.directory}",
        }
    finally:
        server.destroy()


@pytest.mark.parametrize(
    "words",
    [("deploy",), ("status",), ("--all", "status"), ("--all", "status", "--format", "json")],
    ids=" ".join,
)
def test_a_dotenv_that_compose_cannot_read_is_not_quoted(
    environment: dict[str, str], words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "remote", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HUNG_SECONDS * 2,
        check=False,
    )

    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Invalid template" in said
    assert HIDDEN in said
    assert "hunter2" not in said
