"""Images by their age and origin: pulled, aged, left over."""

from __future__ import annotations

from datetime import UTC, datetime

import requests
from docker.errors import APIError, DockerException, ImageNotFound

import docker
from apps.ops.redact import first_line
from apps.ops.stack.engine import (
    API_SECONDS,
    PROJECT_LABEL,
    READING_LABEL,
    Engine,
    EngineAway,
)

# Without capabilities apt cannot become another user, and need not: nothing is installed.
SIMULATE = """
command -v apt-get >/dev/null || { echo "it has no apt-get"; exit 1; }
apt="apt-get -o APT::Sandbox::User=root"
$apt --quiet=2 update && $apt --simulate dist-upgrade
"""


class Images(Engine):
    """What stands below the services: the images of others, and what a refresh leaves of ours."""

    def pull(self, image: str, *, seconds: float) -> str:
        """Bring the newest image of this name here; "", or why that did not work."""
        client = docker.from_env(timeout=int(seconds))
        try:
            client.images.pull(image)
        except (DockerException, requests.RequestException) as error:
            return first_line(error)
        finally:
            client.close()
        return ""

    def base_made_at(self, image: str) -> datetime | None:
        """When the oldest layer of an image (a name or an id) was made: the system that all of it
        stands on. None when there is no such image, or it does not say."""
        with self._talking() as client:
            try:
                made = [layer["Created"] for layer in client.images.get(image).history()]
            except ImageNotFound:
                return None
        oldest = min((at for at in made if at > 0), default=None)
        return datetime.fromtimestamp(oldest, UTC) if oldest else None

    def has_newer(self, container: str, *, seconds: float) -> tuple[bool | None, str]:
        """Whether the registry has a newer image of the name that a container was made from, or
        None and why that is not known; one that was built here has no registry."""
        with self._talking() as client:
            made_from = client.containers.get(container)
            name = str(made_from.attrs["Config"]["Image"])
            image = client.images.get(made_from.attrs["Image"])
        digests = [digest.partition("@")[2] for digest in image.attrs["RepoDigests"] or ()]
        if not digests:
            return None, ""
        asking = docker.from_env(timeout=int(seconds))
        try:
            return asking.images.get_registry_data(name).id not in digests, ""
        except (DockerException, requests.RequestException) as error:
            return None, f"the registry does not tell of {name} ({first_line(error)})"
        finally:
            asking.close()

    def simulate_upgrade(self, image: str, *, seconds: float) -> tuple[str | None, str]:
        """What apt would upgrade in an image, in its own words; or None and why it cannot say.

        It runs beside the stack: with the network, and with nothing of the stack's.
        """
        with self._talking() as client:
            container = client.containers.create(
                image,
                entrypoint=["timeout", str(int(seconds)), "sh", "-c", SIMULATE],
                command=[],
                user="0",
                healthcheck={"test": ["NONE"]},
                labels={READING_LABEL: self.project},
                security_opt=["no-new-privileges"],
                cap_drop=["ALL"],
                mem_limit="512m",
                pids_limit=100,
            )
        try:
            with self._talking():
                container.start()
                code = container.wait(timeout=seconds + API_SECONDS)["StatusCode"]
                said = container.logs().decode(errors="replace")
        except (APIError, EngineAway) as error:
            return None, f"apt could not be asked ({first_line(error)})"
        finally:
            with self._talking():
                container.remove(force=True)
        if code:
            return None, f"apt could not be asked ({(said.splitlines() or ['no word'])[-1]})"
        return said, ""

    def remove_untagged(self) -> int:
        """Remove the project's images that no name means any more and no container was made from,
        as a refresh leaves them; how many it was."""
        filters = {"label": f"{PROJECT_LABEL}={self.project}", "dangling": True}
        removed = 0
        with self._talking() as client:
            for image in client.images.list(filters=filters):
                try:
                    client.images.remove(str(image.id))
                except APIError as error:
                    if error.status_code not in (404, 409):  # Gone already, or in use.
                        raise
                else:
                    removed += 1
        return removed
