"""One checkout deploys a site: a second one with the same `.env` would take it over in silence.

Which one it is, the containers tell: Compose labels each with its project's directory. The same
directory can have two names, and be moved: it is known by its inode, too, which is kept.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from apps.ops import durable
from apps.ops.conf import OpsSettings
from apps.ops.errors import Refused
from apps.ops.stack.engine import Engine, EngineAway

FILE = "checkout.json"


def require_it(
    settings: OpsSettings, engine: Engine, *, adopt: bool = False, remember: bool = True
) -> None:
    """Without Docker nothing is known, and nothing said.

    Args:
        adopt: this one takes the other one's place, as was asked.
        remember: write down which one it is. Only for the holder of the deploy lock.

    Raises:
        Refused: what runs was made from another checkout.
    """
    here = settings.checkout
    try:
        there = engine.made_in()
    except EngineAway:
        return
    inode = _inode(here)
    known = settings.state_dir / FILE
    if there and Path(there) != here and not adopt and (inode is None or _read(known) != inode):
        raise Refused(
            f"What runs was deployed from {there}, and this checkout is {here}: it would take the "
            "site over, with its own .env.",
            next=f"cd {there}   # deploy there; if this one is to take its place: "
            "manage.py deploy --adopt-checkout",
        )
    if remember and inode is not None and inode != _read(known):
        # On a full disk the next move of this directory has to be told.
        with suppress(OSError):
            durable.write(known, json.dumps(inode))


def _inode(directory: Path) -> list[int] | None:
    try:
        stat = directory.stat()
    except OSError:
        return None
    return [stat.st_dev, stat.st_ino]


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
