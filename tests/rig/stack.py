"""A production stack of its own for the demo, the bench and the end-to-end tests: the real compose
file on loopback ports, deployed from a bare repository that stands in for the team's git host."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEPLOY_SECONDS = 900
CLEANUP_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Result:
    """A command's exit code and output; `events` are a deployment's `--format json` lines."""

    code: int
    output: str
    errors: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def event(self, name: str, **having: Any) -> dict[str, Any]:
        for event in self.events:
            if event["event"] == name and all(event.get(k) == v for k, v in having.items()):
                return event
        raise AssertionError(f"no event {name} {having} in:\n{self.output}\n{self.errors}")


class ScratchStack:
    """Everything of it lies below `root`, and every container, volume, network and image carries
    `project`: `destroy` removes these and nothing else."""

    def __init__(self, root: Path, *, project: str, port: int, settings: Mapping[str, str]) -> None:
        self.root = root
        self.project = project
        self.port = port
        # The server's checkout. The remote lies inside it because a deploy's container sees the
        # checkout at its own path, and nothing else of this machine.
        self.site = root / "site"
        self.remote = self.site / ".scratch" / "remote.git"
        self.work = root / "work"
        self.first = Result(-1, "", "")
        self._settings = dict(settings)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def create(self, source: Path, commit: str = "HEAD") -> None:
        """Clone the project's `commit` as the remote's main branch, and write `.env`."""
        self.root.mkdir(parents=True)
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.root / "r.git")])
        run(
            ["git", "push", "--quiet", str(self.root / "r.git"), f"{commit}:refs/heads/main"],
            cwd=source,
        )
        run(["git", "clone", "--quiet", str(self.root / "r.git"), str(self.site)])
        self.remote.parent.mkdir()
        (self.root / "r.git").rename(self.remote)
        run(["git", "remote", "set-url", "origin", str(self.remote)], cwd=self.site)
        run(["git", "clone", "--quiet", str(self.remote), str(self.work)])
        for key, value in (("user.name", "Demo"), ("user.email", "demo@example.org")):
            run(["git", "config", key, value], cwd=self.work)
        self.write_env()

    def write_env(self, **changes: str | None) -> None:
        """Write `.env`, with generated secrets the first time; None takes a variable out."""
        defaults = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            "SITE_HOST": "localhost",
            "SITE_SCHEME": "http",
            "COMPOSE_FILE": "compose.prod.yml",
            # Visitors in tests note who answered them.
            "EXPOSE_RELEASE": "true",
            "COMPOSE_PROJECT_NAME": self.project,
            "HTTP_BIND": f"127.0.0.1:{self.port}",
            "HTTPS_BIND": f"127.0.0.1:{free_port()}",
        }
        self._settings = {**defaults, **self._settings, **{k: v for k, v in changes.items() if v}}
        for name, value in changes.items():
            if value is None:
                self._settings.pop(name, None)
        dotenv = self.site / ".env"
        dotenv.touch(mode=0o600)
        skip = {name for name, value in changes.items() if value is None}
        lines = [f"{k}={v}\n" for k, v in self._settings.items() if k not in skip]
        dotenv.write_text("".join(lines))

    def setting(self, name: str) -> str:
        """What `.env` has."""
        return self._settings[name]

    def commit(self, message: str, change: Callable[[Path], None], *, branch: str = "main") -> str:
        """Change the project in a clone, commit it on top of the remote's main, push; its SHA."""
        run(["git", "fetch", "--quiet", "origin"], cwd=self.work)
        run(["git", "checkout", "--quiet", "-B", branch, "origin/main"], cwd=self.work)
        change(self.work)
        run(["git", "add", "--all"], cwd=self.work)
        run(["git", "commit", "--quiet", "--allow-empty", "--message", message], cwd=self.work)
        run(["git", "push", "--quiet", "--force", "origin", branch], cwd=self.work)
        return run(["git", "rev-parse", "HEAD"], cwd=self.work).output.strip()

    def compose(self, *arguments: str, seconds: float = 120, check: bool = True) -> Result:
        return run(
            ["docker", "compose", *arguments],
            cwd=self.site,
            env=self._shell(),
            seconds=seconds,
            check=check,
        )

    def manage(
        self, *arguments: str, options: tuple[str, ...] = (), seconds: float = DEPLOY_SECONDS
    ) -> Result:
        """`docker compose run --rm utility python manage.py …`, as the README says it."""
        return run(
            self.manage_argv(*arguments, options=options),
            cwd=self.site,
            env=self._shell(),
            seconds=seconds,
            check=False,
        )

    def manage_argv(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        return [
            *("docker", "compose", "run", "--rm", "-T", *options, "utility"),
            *("python", "manage.py", *arguments),
        ]

    def start_manage(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.manage_argv(*arguments),
            cwd=self.site,
            env=self._shell(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def deploy(self, *arguments: str, options: tuple[str, ...] = ()) -> Result:
        return self._with_events("deploy", *arguments, options=options)

    def rollback(self, *arguments: str) -> Result:
        return self._with_events("rollback", *arguments)

    def _with_events(self, *arguments: str, options: tuple[str, ...] = ()) -> Result:
        result = self.manage(*arguments, "--format", "json", options=options)
        lines = [line for line in result.output.splitlines() if line.startswith("{")]
        return Result(result.code, result.output, result.errors, [json.loads(x) for x in lines])

    def containers(self, service: str, *, one_off: bool = False) -> list[str]:
        """The ids of a service's containers that run, newest first."""
        labels = (f"project={self.project}", f"service={service}", f"oneoff={one_off}")
        flags = [part for x in labels for part in ("--filter", f"label=com.docker.compose.{x}")]
        return run(["docker", "ps", "--quiet", "--no-trunc", *flags]).output.split()

    def look(self, *arguments: str) -> Result:
        """A command that only reads, in the newest agent's container: one made for it costs as much
        again. Without an agent it is run as every command."""
        agents = self.containers("utility")
        if agents:
            # As the entrypoint does, which `exec` leaves out.
            own = ("--env", "DJANGO_SETTINGS_MODULE=config.utility")
            own = () if arguments[0] == "shell" else own
            argv = ["docker", "exec", *own, agents[0], "python", "manage.py", *arguments]
            result = run(argv, seconds=DEPLOY_SECONDS, check=False)
            # It may be an old one, which ends just now: then nothing was said.
            if result.code == 0 or (result.code == 1 and result.output):
                return result
        return self.manage(*arguments)

    def status(self, *, limit: int = 5) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(
            self.look("status", "--format", "json", "--limit", str(limit)).output
        )
        return status

    def django_shell(self, code: str) -> str:
        """Run Python in the project's shell; what it printed."""
        return self.look("shell", "--no-imports", "-c", code).output

    def destroy(self) -> None:
        """Remove what carries this project's name, then the directory."""
        label = f"label=com.docker.compose.project={self.project}"
        for kind, remove in (
            ("ps --all", "rm --force --volumes"),
            ("network ls", "network rm"),
            ("volume ls", "volume rm --force"),
        ):
            found = run(["docker", *kind.split(), "--quiet", "--filter", label]).output.split()
            if found:
                run(["docker", *remove.split(), *found], seconds=CLEANUP_SECONDS, check=False)
        images = run(
            ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", self.project]
        ).output.split()
        if images:
            run(["docker", "image", "rm", "--force", *images], seconds=CLEANUP_SECONDS, check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def _shell(self) -> dict[str, str]:
        # Only what a shell on a server has: nothing of this process's settings may leak in.
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "DOCKER_HOST", "USER")}
        return {**kept, "PWD": str(self.site)}


def run(
    argv: list[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
    check: bool = True,
    stdin: str = "",
) -> Result:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        timeout=seconds,
        text=True,
        capture_output=True,
        check=False,
        input=stdin,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return Result(done.returncode, done.stdout, done.stderr)


def project_of(name: str, root: Path) -> str:
    """A project name that is this clone's alone: another clone's stack is not ours to touch."""
    return f"{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
