"""What runs: the Docker SDK's side. Reading, starting, stopping, tagging; never building."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image

import docker
from apps.ops.errors import OpsError, StepFailed
from apps.ops.redact import first_line
from apps.ops.stack.service import RELEASE_LABEL, Environment, Service, describe, variables

API_SECONDS = 30.0
PROJECT_LABEL = "changeover.project"
# On the one-off containers that a deployment runs: they outlive it when it is killed.
DEPLOYMENT_LABEL = "changeover.deployment"
# On those that never run: files of an image are read from them.
READING_LABEL = "changeover.reading"


class EngineAway(StepFailed):
    """The Docker daemon does not answer."""


class Engine:
    """One Compose project's containers and images, through the daemon of `DOCKER_HOST`.

    Raises (every method):
        EngineAway: the daemon does not answer, or not in time.
    """

    def __init__(self, project: str, *, seconds: float = API_SECONDS) -> None:
        self.project = project
        self._seconds = seconds

    @cached_property
    def _client(self) -> docker.DockerClient:
        return docker.from_env(timeout=int(self._seconds))

    @contextmanager
    def _talking(self) -> Iterator[docker.DockerClient]:
        try:
            yield self._client
        except APIError as error:
            if error.is_server_error():
                raise away(error) from error
            raise
        except (requests.RequestException, DockerException) as error:
            raise away(error) from error
        except (KeyError, TypeError, AttributeError) as error:
            raise away(ValueError(f"its answer makes no sense: {error!r}")) from error

    def version(self) -> str:
        with self._talking() as client:
            return str(client.version()["Version"])

    def service(self, name: str) -> Service | None:
        """The container that carries a service; None when there is none."""
        container = self._container(name)
        with self._talking():
            return None if container is None else describe(name, container)

    def services(self, name: str) -> list[Service]:
        """All containers that carry a service, also those that ended."""
        with self._talking():
            return [describe(name, container) for container in self._containers(name)]

    def environment(self, name: str) -> Environment | None:
        """Of the container that carries a service; None when it, or its image, is not there."""
        container = self._container(name)
        image = self._image(container.attrs["Image"]) if container else None
        if container is None or image is None:
            return None
        with self._talking():
            values = variables(container.attrs["Config"]["Env"])
            own = variables(image.attrs["Config"]["Env"])
        return Environment(values, {n: v for n, v in values.items() if own.get(n) != v})

    def attributes(self, name: str) -> dict[str, Any] | None:
        """The container that carries a service as Docker's API has it; None without one."""
        container = self._container(name)
        return None if container is None else container.attrs

    def made_in(self) -> str | None:
        """The project's directory, as Compose saw it when a deployment last made a container."""
        services = ("django-a", "django-b", "django-q")
        found = [container for name in services for container in self._containers(name)]
        newest = max(found, key=lambda c: str(c.attrs["Created"]), default=None)
        if newest is None:
            return None
        return str(newest.labels.get("com.docker.compose.project.working_dir", ""))

    def user(self, name: str) -> str | None:
        """Whom a service's container runs as, "" for its image's user; None without a container."""
        container = self._container(name)
        return None if container is None else str(container.attrs["Config"].get("User") or "")

    def join(self, name: str, network: str) -> None:
        """Let a service's running container reach a network of the project, if it does not."""
        container = self._container(name)
        full = f"{self.project}_{network}"
        if container is None or full in container.attrs["NetworkSettings"]["Networks"]:
            return
        with self._talking() as client:
            client.networks.get(full).connect(container, aliases=[name])

    def remove_container(self, container: str) -> None:
        """Remove a container, whatever it does."""
        with self._talking() as client, _gone_already():
            client.containers.get(container).remove(force=True)

    def stop(self, name: str, *, seconds: float) -> None:
        """SIGTERM, and SIGKILL after `seconds`. Returns when it has stopped."""
        if container := self._container(name):
            with self._talking():
                container.stop(timeout=int(seconds))

    def restart(self, container: str, *, seconds: float) -> None:
        """Stop a container as `stop` does and start it again; nothing when it is gone."""
        with self._talking() as client, _gone_already():
            client.containers.get(container).restart(timeout=int(seconds))

    def share_cpu(self, name: str, shares: int) -> None:
        """Let a service's container have this weight where the processors are short, at once and
        after its restarts; 1024 is Docker's default. One that cannot be weighed stays as it is."""
        with suppress(OpsError, APIError):
            if container := self._container(name):
                with self._talking():
                    container.update(cpu_shares=shares)

    def remove(self, name: str, *, seconds: float) -> None:
        """Stop and remove a service's containers, also what a killed recreation left of one."""
        for container in self._containers(name):
            with self._talking(), _gone_already():
                container.stop(timeout=int(seconds))
                container.remove(force=True)

    def remove_strays(self, name: str) -> int:
        """Remove what a killed recreation left beside a service's container; how many it was."""
        kept = self._container(name)
        strays = [c for c in self._containers(name) if kept and c.id != kept.id]
        for container in strays:
            with self._talking(), _gone_already():
                container.remove(force=True)
        return len(strays)

    def remove_one_offs(self, deployment: str) -> int:
        """End and remove what a killed deployment still runs beside the services."""
        label = f"{DEPLOYMENT_LABEL}={deployment}"
        with self._talking() as client:
            found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        for container in found:
            with self._talking(), _gone_already():
                container.remove(force=True)
        return len(found)

    def remove_readers(self) -> int:
        """Remove what a killed `read_tree` left, which would keep its image; how many it was."""
        label = f"{READING_LABEL}={self.project}"
        with self._talking() as client:
            found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        for container in found:
            with self._talking(), _gone_already():
                container.remove(force=True)
        return len(found)

    def signal(self, container: str, name: str) -> bool:
        """Send a signal to a container's first process; whether there is such a container."""
        with self._talking() as client:
            try:
                client.containers.get(container).kill(signal=name)
            except NotFound:
                return False
            except APIError as error:
                if error.status_code != 409:  # It is not running any more.
                    raise
                return False
        return True

    def logs(self, name: str, *, lines: int) -> str:
        """The last lines of a service's container."""
        container = self._container(name)
        if container is None:
            return ""
        with self._talking():
            return container.logs(tail=lines).decode(errors="replace")

    def succeeds(self, name: str, argv: list[str]) -> bool:
        """Whether a program ends with exit code 0 inside a service's container."""
        container = self._container(name)
        if container is None:
            return False
        try:
            with self._talking():
                return container.exec_run(argv).exit_code == 0
        except (APIError, EngineAway):
            return False  # It stopped meanwhile.

    def read_tree(self, image: str, path: str) -> Iterator[tuple[str, bytes]]:
        """The files below a directory of an image: their paths in it and their contents."""
        with self._talking() as client:
            container = client.containers.create(
                image, command=["true"], labels={READING_LABEL: self.project}
            )
            try:
                stream, _ = container.get_archive(path)
                archive = io.BytesIO(b"".join(stream))
            finally:
                container.remove(force=True)
        with tarfile.open(fileobj=archive) as tar:
            for member in tar:
                if member.isfile() and (content := tar.extractfile(member)):
                    yield member.name.partition("/")[2], content.read()

    def image_id(self, tag: str) -> str | None:
        image = self._image(f"{self.project}:{tag}")
        return image.id if image else None

    def id_of(self, image: str) -> str | None:
        """What the name of somebody's image means now; None without such an image."""
        found = self._image(image)
        return found.id if found else None

    def release_of(self, tag: str) -> str | None:
        """The release that a tag means now; None without such an image."""
        image = self._image(f"{self.project}:{tag}")
        return image.labels.get(RELEASE_LABEL) if image else None

    def has_image(self, image: str) -> bool:
        return self._image(image) is not None

    def is_ours(self, tag: str) -> bool:
        image = self._image(f"{self.project}:{tag}")
        return image is not None and image.labels.get(PROJECT_LABEL) == self.project

    def tag(self, image: str, tag: str) -> None:
        """Let the project's `tag` mean an image (an id, or "project:tag")."""
        with self._talking() as client:
            client.images.get(image).tag(self.project, tag)

    def untag(self, tag: str) -> None:
        with self._talking() as client, suppress(ImageNotFound):
            client.images.remove(f"{self.project}:{tag}")

    def releases_with_images(self) -> dict[str, list[str]]:
        """The tags that keep a release's images, by release; only what this project built."""
        found: dict[str, list[str]] = {}
        with self._talking() as client:
            images = client.images.list(filters={"label": f"{PROJECT_LABEL}={self.project}"})
        for image in images:
            release = image.labels.get(RELEASE_LABEL, "")
            for name in image.tags:
                repository, _, tag = name.rpartition(":")
                if repository == self.project and tag in (release, f"utility-{release}"):
                    found.setdefault(release, []).append(tag)
        return found

    def releases_in_use(self) -> set[str]:
        """Releases that a container, running or not, was made from."""
        with self._talking() as client:
            containers = client.api.containers(
                all=True, filters={"label": f"{PROJECT_LABEL}={self.project}"}
            )
        return {c["Labels"].get(RELEASE_LABEL, "") for c in containers}

    def _container(self, service: str) -> Container | None:
        # A recreation that was killed can leave a stopped second one; of two agents the newer one
        # counts.
        found = sorted(self._containers(service), key=lambda c: c.attrs["Created"], reverse=True)
        return min(found, key=lambda c: c.status != "running", default=None)

    def _containers(self, service: str) -> list[Container]:
        labels = [
            f"com.docker.compose.project={self.project}",
            f"com.docker.compose.service={service}",
            "com.docker.compose.oneoff=False",
        ]
        with self._talking() as client:
            # Others may remove one between its being listed and its being read.
            found: list[Container] = client.containers.list(
                all=True, filters={"label": labels}, ignore_removed=True
            )
            return found

    def _image(self, name: str) -> Image | None:
        with self._talking() as client:
            try:
                return client.images.get(name)
            except ImageNotFound:
                return None


@contextmanager
def _gone_already() -> Iterator[None]:
    """It is gone, or somebody else (`--rm`) is removing it: both are what was wanted."""
    try:
        yield
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:
            raise


def away(error: Exception) -> OpsError:
    """What a failure to talk to the daemon means to the operator."""
    if "Permission denied" in str(error):
        return EngineAway(
            "Docker's socket does not let this user in.",
            next='sudo usermod --append --groups docker "$USER"   # then log in again',
        )
    return EngineAway(
        f"Docker does not answer ({first_line(error)}).",
        next="sudo systemctl start docker   # without systemd: ./bootstrap starts it",
    )
