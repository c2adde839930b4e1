from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from apps.ops.conf import OpsSettings
from apps.ops.deploys.plan import Plan
from apps.ops.deploys.watch import Watch
from apps.ops.edge import front_door
from apps.ops.edge.files import Edge
from apps.ops.errors import Cancelled, Refused
from apps.ops.processes import Say
from apps.ops.source import Checkout
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from apps.ops.stack.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for beside the release.

    `maintenance`: behind the maintenance page, so that contract migrations may be applied before
    the swap, or reversed for a rollback. `allow_contract`: apply them in spite of the live release.
    `allow_incompatible`: roll back to code that does not run on today's schema. `override`: deploy
    although it is frozen. `refresh`: build anew on the newest base images, from no cache.
    `adopt_checkout`: although what runs was deployed from another directory.
    """

    bake: bool = True
    maintenance: bool = False
    allow_contract: bool = False
    allow_incompatible: bool = False
    override: bool = False
    refresh: bool = False
    adopt_checkout: bool = False


READY_PATH, LIVE_PATH = "/health/ready", "/health/live"
EDGE = "edge"
Facts = dict[str, Any]


@dataclass(kw_only=True)
class Deploy:
    """One deployment: what its steps work with, and what they found out so far.

    `scratch` is a directory that lives as long as it does. `say` is for a step's output, `note` for
    what of it everybody should read. `uid` names it in the journal and on the
    containers that it starts. `resumed`: its process was killed, and another one finishes it.
    """

    settings: OpsSettings
    uid: str = ""
    kind: str = "deploy"
    options: Options = field(default_factory=Options)
    ref: str | None
    # Asked for in the admin: nothing that the web could have written decides about it.
    requested: bool = False
    resumed: bool = False
    engine: Engine
    edge: Edge
    checkout: Checkout
    say: Say
    scratch: Path
    note: Say = lambda line: None
    warnings: list[str] = field(default_factory=list)

    # What steps intended before they acted, by step: all that undoing and finishing needs to know,
    # also in another process after this one was killed.
    intents: dict[str, Facts] = field(default_factory=dict)
    write_ahead: Callable[[str, Facts], None] = lambda step, facts: None

    # What a build put into the image; None when nothing was built.
    inventory: Inventory | None = None
    plain_static: dict[str, bytes] = field(default_factory=dict)
    # Known from the rollback's look at the schema: pages that need the database prove nothing then.
    postgres_away: bool = False
    watch: Watch | None = None
    swapped_at: datetime | None = None
    moved_back: bool = False
    # The schema was contracted before the swap and could not be put back: the live release does not
    # run on it.
    schema_is_new: bool = False
    bake: dict[str, Any] = field(default_factory=dict)
    drained_at: datetime | None = None
    cancelled: Cancelled | None = None
    is_whole: bool = False
    _plan: Plan | None = None
    _composes: dict[str | None, Compose] = field(default_factory=dict)

    def intend(self, step: str, **facts: Any) -> None:
        """Write down, before acting, what undoing or finishing a step will need; JSON values.

        It is on the disk when this returns. Facts add to those that the step intended before.

        Raises:
            OpsError: it cannot be written: then nothing must be done either.
        """
        merged = {**self.intents.get(step, {}), **facts}
        self.write_ahead(step, merged)
        self.intents[step] = merged

    def intended(self, step: str) -> Facts | None:
        """What a step intended; None when it never came to act."""
        return self.intents.get(step)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is in here is not cut in the middle: a cancellation comes at its end.

        Compose, ended between creating a container and giving it its name, leaves one that the
        undoing stumbles over.
        """
        self.is_whole = True
        try:
            yield
        finally:
            self.is_whole = False
        if cancelled := self.cancelled:
            self.cancelled = None  # Said once: what undoes it must be whole, too.
            raise cancelled

    @property
    def plan(self) -> Plan:
        assert self._plan is not None, "fetch is the first step"
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def nobody_served(self) -> bool:
        """Whether Caddy did not answer when it was looked at: then there is no traffic to lose."""
        return bool((self.intended(EDGE) or {}).get("away"))

    def look_at_the_front_door(self) -> None:
        """Deploying what is right must be possible when the front door is what is broken."""
        if not self.nobody_served and not front_door.answers(self.settings):
            self.intend(EDGE, away=True)
            self.note(
                "Caddy does not answer: nobody is served. The release is proved at its own "
                "address, and Caddy is created anew with its Caddyfile."
            )

    @property
    def ready_path(self) -> str:
        return LIVE_PATH if self.postgres_away else READY_PATH

    @property
    def smoke_paths(self) -> tuple[str, ...]:
        return (LIVE_PATH,) if self.postgres_away else self.settings.smoke_paths

    @property
    def planned(self) -> bool:
        return self._plan is not None

    @property
    def swapped(self) -> bool:
        """Past the commit point, and not moved back since."""
        return self.swapped_at is not None and not self.moved_back

    def compose(self, release: str | None = None) -> Compose:
        """Compose, on a release's own files: a colour is made as its release declares it.

        Without a release, on the files of the checkout as they lie there.
        """
        if release not in self._composes:
            self._composes[release] = compose_on(
                release, settings=self.settings, checkout=self.checkout, scratch=self.scratch
            )
        return self._composes[release]


def compose_on(
    release: str | None, *, settings: OpsSettings, checkout: Checkout, scratch: Path
) -> Compose:
    """Raises Refused when a file that COMPOSE_FILE names is not in the release."""
    directory = checkout.path
    if release is not None:
        directory = scratch / release
        for name in settings.compose_files:
            text = checkout.file(release, name)
            if text is None:
                raise Refused(
                    f"{name}, which COMPOSE_FILE names, is not in release {release[:12]}.",
                    next="commit it, or take it out of COMPOSE_FILE in .env",
                )
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return Compose(
        settings.project, checkout.path, tuple(directory / name for name in settings.compose_files)
    )
