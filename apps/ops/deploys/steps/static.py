from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from apps.ops.conf import IMAGE_STATIC
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.static_files import missing, remember, remembered
from apps.ops.deploys.steps.base import Step
from apps.ops.edge.probe import ask

MANIFEST = "staticfiles.json"
# How many files of the release before are asked for through Caddy.
SAMPLE = 5


class Static(Step):
    """Add the release's hashed files to the volume that Caddy serves.

    Added to, never cleared: pages of the release before name its files for as long as they are open
    or cached. The manifest stays in the image, so that no release reads another's.
    """

    name = "static"

    def run(self, deploy: Deploy) -> str:
        settings, release = deploy.settings, deploy.plan.commit.sha
        files = files_of(deploy, release)
        hashed = hashed_names(files)
        # Names that stay the same mean the old release's files until the swap.
        deploy.plain_static = _plain(files)
        deploy.intend(self.name, release=release)
        # Before the files, so that pruning knows all that was ever added.
        remember(settings.state_dir, release, hashed)
        added = publish({name: files[name] for name in hashed}, settings.static_dir)
        return f"{added} new of {len(hashed)} hashed files"


def files_of(deploy: Deploy, release: str) -> dict[str, bytes]:
    """What collectstatic left in a release's image, by name."""
    image = f"{deploy.settings.project}:{release}"
    return dict(deploy.engine.read_tree(image, IMAGE_STATIC))


def plain_files(deploy: Deploy) -> dict[str, bytes]:
    """The new release's files without a hash in their name; from its image when this process is
    not the one that read them."""
    if not deploy.plain_static:
        deploy.plain_static = _plain(files_of(deploy, deploy.plan.commit.sha))
    return deploy.plain_static


def _plain(files: Mapping[str, bytes]) -> dict[str, bytes]:
    names = files.keys() - hashed_names(files) - {MANIFEST}
    return {name: files[name] for name in names}


def hashed_names(files: Mapping[str, bytes]) -> set[str]:
    """The names that change with their content, as the release's manifest lists them."""
    manifest = json.loads(files.get(MANIFEST, b'{"paths": {}}'))
    return {name for name in manifest["paths"].values() if name in files}


def publish(files: Mapping[str, bytes], directory: Path) -> int:
    """Write files below a directory, each atomically; leave what is there with the same content.

    Returns:
        How many were written.
    """
    written = 0
    for name, content in files.items():
        path = directory / name
        if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(content)
        temporary.chmod(0o644)
        temporary.replace(path)
        written += 1
    return written


def check_old_assets(deploy: Deploy, keep: set[str]) -> list[str]:
    """See that what pages of the releases in `keep` name is still served.

    What is missing is published again from the release's image. After that a few files of the
    release before are asked for through Caddy.

    Returns:
        Warnings.
    """
    settings = deploy.settings
    names = remembered(settings.state_dir)
    warnings = []
    for release in sorted(names.keys() & keep):
        if not missing(names[release], settings.static_dir):
            continue
        if deploy.engine.image_id(release):
            files = files_of(deploy, release)
            publish({n: files[n] for n in names[release] & files.keys()}, settings.static_dir)
        if lost := missing(names[release], settings.static_dir):
            warnings.append(
                f"{len(lost)} static files of release {release[:12]} are gone, and its image does "
                f"not have them: pages of it that are still open miss them ({lost[0]}, …)."
            )
    for name in sorted(names.get(deploy.plan.live_release, ()))[:SAMPLE]:
        path = f"/static/{quote(name)}"
        answer = ask(settings.probe_address, path, host=settings.site_host)
        if answer.status != 200:
            warnings.append(
                f"{path}, which pages of the release before name, answers {answer}. "
                "Next: docker compose logs caddy"
            )
    return warnings
