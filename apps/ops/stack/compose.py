"""What runs: Compose's side. A service is made as its compose file declares it, never by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from apps.ops import processes
from apps.ops.processes import Say

UP_SECONDS = 120.0
# Where `docker` looks for its plugins on a system: cli-plugins/manager in docker/cli.
PLUGINS = ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")


@dataclass(frozen=True)
class Compose:
    """The Compose command line on one set of files.

    Args:
        project: the Compose project.
        directory: what relative paths and `.env` in the files are relative to: the checkout.
        files: compose files, in order.

    Raises (every method):
        ProgramFailed: with Compose's own last lines.
    """

    project: str
    directory: Path
    files: tuple[Path, ...]

    def check(self, say: Say) -> None:
        """Refuse files that Compose cannot read, or whose variables are missing."""
        for line in self._config[1]:
            say(line)

    def environment(self, service: str) -> dict[str, str]:
        """What a service's container would be created with now, by the files and `.env`.

        Raises:
            ValueError: the files have no such service.
        """
        services = self._config[0]
        if service not in services:
            raise ValueError(f"there is no service {service}")
        # A name alone is one that the shell would have to set. A "$" is written twice.
        given = services[service].get("environment") or {}
        return {name: str(v).replace("$$", "$") for name, v in given.items() if v is not None}

    def has(self, service: str) -> bool:
        """Whether the files have such a service."""
        return service in self._config[0]

    def declared(self, service: str) -> dict[str, Any] | None:
        """A service as Compose reads it; None without one."""
        found: dict[str, Any] | None = self._config[0].get(service)
        return found

    @cached_property
    def _config(self) -> tuple[dict[str, Any], list[str]]:
        """The services as Compose reads them, and what it says of that."""
        said: list[str] = []
        output = self._run(
            ["config", "--format", "json"], seconds=30, say=said.append, merge_stderr=False
        )
        return json.loads(output)["services"], said

    def ensure(self, services: Sequence[str], *, say: Say) -> None:
        """Bring up what is not up, touch nothing that is, and wait until it is healthy."""
        self._run(
            ["up", "--detach", "--no-recreate", "--no-build", "--wait", *services],
            seconds=UP_SECONDS,
            say=say,
        )

    def recreate(self, service: str, *, stop_seconds: float, say: Say) -> None:
        """Replace a service's container by one of the image its tag means now.

        Args:
            stop_seconds: the grace of the container that is there.
        """
        self._run(
            ["up", "--detach", "--no-deps", "--no-build", "--force-recreate"]
            + ["--timeout", str(int(stop_seconds)), service],
            seconds=stop_seconds + UP_SECONDS,
            say=say,
        )

    def scale(self, service: str, *, count: int, say: Say) -> None:
        """Let a service have so many containers: those that are there stay as they are."""
        self._run(
            ["up", "--detach", "--no-deps", "--no-build", "--no-recreate"]
            + ["--scale", f"{service}={count}", service],
            seconds=UP_SECONDS,
            say=say,
        )

    def run(
        self,
        service: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        labels: Mapping[str, str],
        seconds: float,
        say: Say,
        volumes: Sequence[str] = (),
        merge_stderr: bool = True,
        as_root_with: Sequence[str] = (),
        stdin: IO[bytes] | None = None,
    ) -> str:
        """Run a one-off container in a service's place: its image, environment and volumes.

        It gets no network alias, so that no visitor's request can reach it.

        Args:
            volumes: more of them, each as `--volume` takes it.
            as_root_with: capabilities; then it runs as root, whatever the service does.

        Returns:
            Its output.
        """
        flags = [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
        flags += [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
        flags += [part for volume in volumes for part in ("--volume", volume)]
        if as_root_with:
            flags += ["--user", "0:0", *(f"--cap-add={name}" for name in as_root_with)]
        return self._run(
            ["run", "--rm", "--no-deps", "--no-TTY", *flags, service, *argv],
            seconds=seconds,
            say=say,
            merge_stderr=merge_stderr,
            stdin=stdin,
        )

    def start_one_off(
        self,
        service: str,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str],
        labels: Mapping[str, str],
        say: Say,
    ) -> None:
        """The same, and do not wait for it: it goes on by itself and is left there when it ends.

        Args:
            name: the container's. Docker refuses a second one of that name.
        """
        flags = [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
        flags += [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
        self._run(
            ["run", "--detach", "--no-deps", "--no-TTY", "--name", name, *flags, service, *argv],
            seconds=UP_SECONDS,
            say=say,
        )

    def _run(
        self,
        arguments: Sequence[str],
        *,
        seconds: float,
        say: Say,
        merge_stderr: bool = True,
        stdin: IO[bytes] | None = None,
    ) -> str:
        files = [part for file in self.files for part in ("--file", str(file))]
        return processes.run(
            [*_program(), "--project-name", self.project]
            + ["--project-directory", str(self.directory), *files, *arguments],
            seconds=seconds,
            say=say,
            env={"COMPOSE_PROGRESS": "plain", "COMPOSE_ANSI": "never", "COMPOSE_FILE": ""},
            merge_stderr=merge_stderr,
            stdin=stdin,
        )


@cache
def _program() -> tuple[str, ...]:
    """The plugin by itself: `docker compose` starts three programs, and takes twice as long."""
    found = (Path(directory, "docker/cli-plugins/docker-compose") for directory in PLUGINS)
    plugin = next((path for path in found if path.exists()), None)
    return (str(plugin),) if plugin else ("docker", "compose")
