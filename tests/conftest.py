"""The servers that tests run against, and what tests of several folders start from.

pyproject.toml loads this file twice, on purpose: with `-p tests.conftest`, because pytest-django
reads the settings before any conftest is looked at and the servers' addresses must be in the
environment by then, and as the conftest that it is.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol, Self

import psycopg
import pytest
import redis

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings

HUNG_SECONDS = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Give the settings a database and a cache before they are read."""
    if early_config.known_args_namespace.help or early_config.known_args_namespace.version:
        return
    os.environ.setdefault("SECRET_KEY", "for-tests-only-" + secrets.token_urlsafe(48))
    if "POSTGRES_HOST" not in os.environ:
        postgres = PostgresServer()
        early_config.add_cleanup(postgres.destroy)
        os.environ.update(postgres.start().environment)
    if "REDIS_URL" not in os.environ:
        cache = RedisServer()
        early_config.add_cleanup(cache.destroy)
        os.environ["REDIS_URL"] = cache.start().url


class _Server:
    """A server of our own in a directory of its own. It dies with us, also when we are killed."""

    def __init__(self, user: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="changeover-"))
        self.port = free_port()
        self._user = user if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.directory, self._user, pwd.getpwnam(self._user).pw_gid)

    def start(self) -> Self:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user("--pdeathsig", "KILL", *self._argv()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._answers)
        except AssertionError:
            said = (self.directory / "log").read_text(errors="replace")
            self.destroy()
            raise RuntimeError(f"{self._argv()[0]} did not start:\n{said}") from None
        return self

    def stop(self) -> None:
        """An orderly stop; `start` brings it back where it was."""
        if process := self._process:
            self.thaw()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(HUNG_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        if process := self._process:
            process.kill()
            process.wait()
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections and says nothing any more."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def bring_back(self) -> None:
        """Whatever was done to it, it answers again."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.thaw()

    def destroy(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _as_user(self, *argv: str) -> list[str]:
        if self._user is None:
            return ["setpriv", *argv]
        user = pwd.getpwnam(self._user)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] + [
            *argv
        ]

    def _argv(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class PostgresServer(_Server):
    """Without fsync: what it loses with the machine's power is only ours."""

    user, password, database = "site", "for-tests-only", "site"

    def __init__(self) -> None:
        super().__init__(user="postgres")  # It refuses root.
        self._bin = _postgres_programs()
        password_file = self.directory / "password"
        password_file.write_text(self.password)
        done = subprocess.run(
            self._as_user(
                str(self._bin / "initdb"),
                f"--pgdata={self.directory / 'data'}",
                f"--username={self.user}",
                f"--pwfile={password_file}",
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
            ),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=HUNG_SECONDS,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": self.user,
            "POSTGRES_PASSWORD": self.password,
            "POSTGRES_DB": self.database,
        }

    @property
    def connection_settings(self) -> dict[str, Any]:
        """As in DATABASES."""
        return {name.removeprefix("POSTGRES_"): v for name, v in self.environment.items()} | {
            "NAME": self.database
        }

    def _argv(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "shared_buffers": "32MB",
        }
        flags = [part for k, v in options.items() for part in ("-c", f"{k}={v}")]
        return [str(self._bin / "postgres"), "-D", str(self.directory / "data"), *flags]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(
                host=str(self.directory),
                port=self.port,
                user=self.user,
                password=self.password,
                dbname="postgres",
                autocommit=True,
            ) as connection:
                known = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [self.database]
                )
                if not known.fetchone():
                    connection.execute(f"CREATE DATABASE {self.database}")
        except psycopg.OperationalError:
            return False
        return True


class RedisServer(_Server):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _argv(self) -> list[str]:
        return [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
            *("--dir", str(self.directory), "--save", "", "--appendonly", "no"),
        ]

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: -_version(p))
    initdb = found[0] if found else shutil.which("initdb")
    if initdb is None:
        raise RuntimeError("There is no PostgreSQL server here: apt-get install postgresql")
    return Path(initdb).resolve().parent


def _version(initdb: Path) -> float:
    return float(initdb.parents[1].name)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = HUNG_SECONDS) -> None:
    """Look again and again; AssertionError when it does not come true: then something hangs."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"still not so after {seconds:g} s"
        sleep(0.01)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for this test alone, to freeze and kill."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A Postgres for this module's tests alone, to freeze and restart."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.destroy()


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
        people = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
        }
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            env={**os.environ, **nobodys, **people, "GIT_TERMINAL_PROMPT": "0"},
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
