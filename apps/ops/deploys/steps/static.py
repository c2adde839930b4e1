from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from apps.ops.conf import IMAGE_STATIC
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.base import Step

MANIFEST = "staticfiles.json"


class Static(Step):
    """Add the release's hashed files to the volume that Caddy serves.

    Added to, never cleared: pages of the release before name its files for as long as they are open
    or cached. The manifest stays in the image, so that no release reads another's.
    """

    name = "static"

    def run(self, deploy: Deploy) -> str:
        image = f"{deploy.settings.project}:{deploy.plan.commit.sha}"
        files = dict(deploy.engine.read_tree(image, IMAGE_STATIC))
        hashed = hashed_names(files)
        # Names that stay the same mean the old release's files until the swap.
        plain = files.keys() - hashed - {MANIFEST}
        deploy.plain_static = {name: files[name] for name in plain}
        added = publish({name: files[name] for name in hashed}, deploy.settings.static_dir)
        return f"{added} new of {len(hashed)} hashed files"


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
