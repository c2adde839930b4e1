"""A project of three services that do nothing, on the real engine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import docker

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim-trixie"
BOOT_SECONDS = 90
COMPOSE = """
x-app: &app
  image: {image}
  network_mode: none
  stop_grace_period: 0s
  entrypoint: [sleep, infinity]
  healthcheck: {{test: ["CMD", "true"], interval: 1s}}
services:
  caddy:
    <<: *app
    volumes: ["edge:/srv/edge"]
  django-a: {{<<: *app, image: "{project}:blue", pull_policy: never}}
  django-b: {{<<: *app, image: "{project}:green", pull_policy: never}}
volumes:
  edge:
"""


class Project:
    """A checkout with this directory's files and three small services; only what `deployed` names
    has an image."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "site"
        self.name = f"h-doctor-{secrets.token_hex(4)}"
        self.client = docker.from_env()
        shutil.copytree(ROOT / "docker/supervisor", self.directory / "docker/supervisor")
        self.write(COMPOSE.format(image=IMAGE, project=self.name))
        (self.directory / ".env").write_text(f"COMPOSE_PROJECT_NAME={self.name}\n")

    def write(self, compose: str) -> None:
        (self.directory / "compose.yml").write_text(compose)

    def deployed(self, *colors: str) -> None:
        for color in colors:
            self.client.images.get(IMAGE).tag(self.name, color)

    def compose(self, *arguments: str) -> None:
        subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.directory,
            check=True,
            capture_output=True,
            timeout=BOOT_SECONDS,
        )

    def script(self, **more: str) -> dict[str, Any]:
        path = os.environ["PATH"]
        return {
            "args": [str(self.directory / "docker/supervisor/stack"), "--once"],
            "env": {"PATH": path, **more},
        }

    def boot(self, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            **self.script(**more), capture_output=True, text=True, timeout=BOOT_SECONDS, check=False
        )

    def running(self) -> set[str]:
        label = f"com.docker.compose.project={self.name}"
        found = self.client.containers.list(filters={"label": label})
        return {c.labels["com.docker.compose.service"] for c in found}

    def destroy(self) -> None:
        label = {"label": f"com.docker.compose.project={self.name}"}
        for container in self.client.containers.list(all=True, filters=label):
            container.remove(force=True, v=True)
        for volume in self.client.volumes.list(filters=label):
            volume.remove(force=True)
        for network in self.client.networks.list(filters=label):
            network.remove()
        for image in self.client.images.list(name=self.name):
            for tag in image.tags:
                if tag.startswith(f"{self.name}:"):
                    self.client.images.remove(tag)
        self.client.close()
