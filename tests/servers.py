"""Postgres and Redis of a test run's own, to be frozen, killed and brought back."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

import psycopg
import redis

HUNG_SECONDS = 30.0


class Server:
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
        """It keeps its connections and says nothing any more, on any of them."""
        assert self._process
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process and self._process.poll() is None:
            self._signal(signal.SIGCONT)

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

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        for pid in descendants(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

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


class PostgresServer(Server):
    """Without fsync: what it loses with the machine's power is only ours.

    Args:
        like: the directory of one that was stopped, to begin as that one.
    """

    user, password, database = "site", "for-tests-only", "site"
    # What `fresh` copies: migrated, and without a row.
    template = "migrated"

    def __init__(self, like: Path | None = None) -> None:
        super().__init__(user="postgres")  # It refuses root.
        self._bin = _postgres_programs()
        if like is None:
            self._initdb()
        else:
            copied = ["cp", "--archive", str(like / "data"), str(self.directory)]
            subprocess.run(copied, check=True, timeout=HUNG_SECONDS)

    def fresh(self) -> None:
        """Its database as after `migrate`, whatever was done to it, and no other."""
        with self._connect() as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> ALL (%s)",
                [["postgres", self.template]],
            ).fetchall()
            for (name,) in names:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            connection.execute(f"CREATE DATABASE {self.database} TEMPLATE {self.template}")

    def keep_as_template(self) -> None:
        """Let others begin like this one as it is now, and stop it."""
        with self._connect() as connection:
            connection.execute(f"ALTER DATABASE {self.database} RENAME TO {self.template}")
        self.stop()

    def _initdb(self) -> None:
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
            with self._connect() as connection:
                known = "SELECT 1 FROM pg_database WHERE datname IN (%s, %s)"
                if not connection.execute(known, [self.database, self.template]).fetchone():
                    connection.execute(f"CREATE DATABASE {self.database}")
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.directory),
            port=self.port,
            user=self.user,
            password=self.password,
            dbname="postgres",
            autocommit=True,
        )


class RedisServer(Server):
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


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []  # It has ended.
    return [d for child in map(int, children) for d in (child, *descendants(child))]


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
