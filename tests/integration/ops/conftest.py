from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.core.management import call_command
from django.db import connection, connections
from pytest_django import DjangoDbBlocker

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.journal import new_uid
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.recorder import Recorder
from apps.ops.deploys.story import Story
from apps.ops.edge.files import Edge
from apps.ops.source import Checkout, Commit
from apps.ops.stack.engine import Engine
from tests.integration.ops.front_door import FrontDoor
from tests.integration.ops.provisioned_server import SshServer
from tests.servers import HUNG_SECONDS

if TYPE_CHECKING:
    from tests.conftest import Git, OpsSettingsFactory
    from tests.servers import PostgresServer

NEW, OLD = "b" * 40, "a" * 40
ASKED: dict[str, Any] = {
    "kind": "deploy",
    "ref": "main",
    "requested_by": "ada",
    "requested_from": "192.0.2.7",
    "options": {},
}


def begin(state_dir: Path, **changes: Any) -> Recorder:
    """A deployment that was asked for, in its journal and in the history."""
    recorder = Recorder(state_dir, Story(new_uid()))
    recorder.begin(**{**ASKED, **changes})
    return recorder


@contextmanager
def using(server: PostgresServer) -> Iterator[None]:
    """Every connection that is made meanwhile, in whatever thread, is to this server."""
    used = connections.settings["default"]
    before = dict(used)
    connection.close()
    used.update(server.connection_settings)
    try:
        yield
    finally:
        connection.close()
        used.clear()
        used.update(before)


@pytest.fixture
def database(
    own_postgres: PostgresServer, django_db_blocker: DjangoDbBlocker
) -> Iterator[PostgresServer]:
    """A migrated and empty database, on a server that this test may freeze, stop and restart."""
    with django_db_blocker.unblock(), using(own_postgres):
        yield own_postgres


@pytest.fixture
def checkout(git: Git) -> Checkout:
    return Checkout(git.checkout, remote="origin", branch="main")


def bring(checkout: Checkout, sha: str) -> None:
    checkout.fetch(seconds=HUNG_SECONDS, say=print)
    checkout.bring(sha, seconds=HUNG_SECONDS, say=print)


def built(checkout: Checkout, sha: str) -> dict[str, bytes]:
    with checkout.archive(sha) as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {
            member.name: tar.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            for member in tar
            if not member.isdir()
        }


@pytest.fixture
def deploy(ops_settings: OpsSettingsFactory, tmp_path: Path) -> Deploy:
    """A deployment from blue to green that knows its plan; nothing of it runs yet."""
    settings = ops_settings(smoke_paths=("/",), settle_seconds=0.05, start_seconds=5.0)
    deploy = Deploy(
        settings=settings,
        ref=None,
        engine=Engine(settings.project),
        edge=Edge(settings.edge_dir),
        checkout=Checkout(settings.checkout, remote="origin", branch="main"),
        say=print,
        scratch=tmp_path,
    )
    commit = Commit(NEW, "Ada", datetime(2026, 11, 23, tzinfo=UTC), "Say hello")
    deploy.plan = Plan(commit, Color.BLUE, OLD, commits=[commit], commits_total=1)
    return deploy


@pytest.fixture(scope="module")
def ssh_server() -> Iterator[SshServer]:
    """An sshd for this module's tests, which lets in one key."""
    server = SshServer()
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    """The real Caddy with the real Caddyfile, between visitors and two colours."""
    caddy = FrontDoor(tmp_path_factory.mktemp("caddy")).start()
    yield caddy
    caddy.stop()


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    output: str
    errors: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a management command in here."""

    def run(*argv: str) -> Ran:
        code = 0
        try:
            call_command(*argv)
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run
