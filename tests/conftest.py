"""The servers that tests run against, and what tests of several folders start from.

pyproject.toml loads this file twice, on purpose: with `-p tests.conftest`, because pytest-django
reads the settings before any conftest is looked at and the servers' addresses must be in the
environment by then, and as the conftest that it is.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.servers import HUNG_SECONDS, PostgresServer, RedisServer

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings

ROOT = Path(__file__).parents[1]
# Names the directory of a Postgres that is migrated, for xdist's workers to copy.
TEMPLATE = "TESTS_POSTGRES_TEMPLATE"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Give the settings a database and a cache before they are read."""
    given = early_config.known_args_namespace
    if given.help or given.version or given.collectonly:
        return
    os.environ.setdefault("SECRET_KEY", "for-tests-only-" + secrets.token_urlsafe(48))
    # Tests that run side by side have servers each; the process that hands them out needs none. Its
    # workers are given the same arguments.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        template = PostgresServer()
        early_config.add_cleanup(template.destroy)
        _migrate(template)
        os.environ[TEMPLATE] = str(template.directory)
        if given.numprocesses:
            return
    if "POSTGRES_HOST" not in os.environ:
        postgres = PostgresServer(like=Path(os.environ[TEMPLATE]))
        early_config.add_cleanup(postgres.destroy)
        os.environ.update(postgres.start().environment)
    if "REDIS_URL" not in os.environ:
        cache = RedisServer()
        early_config.add_cleanup(cache.destroy)
        os.environ["REDIS_URL"] = cache.start().url


def _migrate(server: PostgresServer) -> None:
    """Once, for all servers of the run to begin like this one."""
    server.start()
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity=0"],
        cwd=ROOT,
        env={**os.environ, **server.environment},
        check=True,
        timeout=HUNG_SECONDS,
    )
    server.keep_as_template()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """The tests' database is a copy, which leaves `migrate` nothing to do."""
    from django.db import connection

    connection.settings_dict["TEST"]["TEMPLATE"] = PostgresServer.template


@pytest.fixture(scope="session", autouse=True)
def imported_urls() -> None:
    """Before any test changes a setting: views read some of them when they are imported."""
    from django.conf import settings

    import_module(settings.ROOT_URLCONF)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for this test alone, to freeze and kill."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def a_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(like=Path(os.environ[TEMPLATE]))
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture
def own_postgres(a_postgres: PostgresServer) -> PostgresServer:
    """A Postgres for this test alone, to freeze and restart, with a database that is migrated and
    empty."""
    a_postgres.bring_back()
    a_postgres.fresh()
    return a_postgres


class OpsSettingsFactory(Protocol):
    def __call__(self, **changes: Any) -> OpsSettings: ...


@pytest.fixture
def ops_settings(tmp_path: Path) -> OpsSettingsFactory:
    """Make settings whose every directory is this test's own: `ops_settings(settle_seconds=0)`."""

    def make(**changes: Any) -> OpsSettings:
        from apps.ops.conf import OpsSettings

        places = {
            "project": "test",
            "checkout": tmp_path / "checkout",
            "state_dir": tmp_path / "state",
            "edge_dir": tmp_path / "edge",
            "static_dir": tmp_path / "static",
            "caddy_admin": tmp_path / "admin.sock",
            "requested_by": "ada",
            "requested_from": "192.0.2.7 51234 192.0.2.1 22",
        }
        return OpsSettings(**{**places, **changes})

    return make


class Git:
    """A team's remote, a colleague's clone that pushes to it, and the server's checkout of it."""

    def __init__(self, root: Path) -> None:
        self.remote, self.clone, self.checkout = (
            root / name for name in ("remote.git", "clone", "checkout")
        )
        self._git(root, "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self._git(root, "init", "--quiet", "--initial-branch=main", str(self.clone))
        self.run("remote", "add", "origin", str(self.remote))
        self.first = self.push("First", {"README": "one\n"})
        self._git(root, "clone", "--quiet", str(self.remote), str(self.checkout))

    def run(self, *arguments: str) -> str:
        """git in the colleague's clone."""
        return self._git(self.clone, *arguments)

    def on_server(self, *arguments: str) -> str:
        return self._git(self.checkout, *arguments)

    def commit(self, message: str, files: dict[str, str] | None = None) -> str:
        for name, content in (files or {}).items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.run("add", "--all")
        self.run("commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "--message", message)
        return self.run("rev-parse", "HEAD")

    def push(self, message: str, files: dict[str, str] | None = None) -> str:
        """Commit on the clone's branch and push it, over whatever is there; its SHA."""
        sha = self.commit(message, files)
        self.run("push", "--quiet", "--force", "origin", "HEAD")
        return sha

    def _git(self, directory: Path, *arguments: str) -> str:
        nobodys = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        # Submodules of remotes that are directories.
        files = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.file.allow",
            "GIT_CONFIG_VALUE_0": "always",
        }
        people = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
        }
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            env={**os.environ, **nobodys, **people, **files, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            timeout=HUNG_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path)
