"""Caddy follows the checkout: what it needs runs, and its Caddyfile is the one in force.

Caddy reads the Caddyfile when it starts, so a release that changes it changes nothing until then;
and what its compose file says of it counts when it is created anew, which costs visitors a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from apps.ops import names
from apps.ops.conf import OpsSettings
from apps.ops.edge import front_door
from apps.ops.edge.admin import Admin, CaddyAway, CaddyRefused, same
from apps.ops.edge.probe import Answer, ask
from apps.ops.errors import NobodyServed, OpsError, Refused, StepFailed
from apps.ops.processes import ProgramFailed, Say
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine

CADDYFILE = Path("docker/caddy/Caddyfile")
# The project's own lines, which the Caddyfile imports.
OWN = CADDYFILE.with_name("site.caddy")
OWN_IMPORTED = "site.cadd*y"
MEDIA = "media"
# compose.prod.yml has it for `caddy`.
USER = "10002:10002"
GIVE_VOLUMES = (
    "chmod 2770 /run/caddy && chown 10002:0 /run/caddy && chown -R 10002:10002 /data /config"
)
VOLUME_SECONDS = 60.0
PROOF_SECONDS = 5.0
STOP_SECONDS = 60.0
REVIVE_SECONDS = 30.0
RECREATE = "manage.py edge --recreate"
NOT_MOVED = "Traffic is where it was; Caddy goes on with the configuration it has."


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`outdated`: another Caddyfile than the checkout's is in force. `as_root`: Caddy was created
    by a release that ran it as root, with the uploads mounted."""

    outdated: bool
    as_root: bool


def caddyfile(settings: OpsSettings) -> str:
    """The checkout's, with the project's own lines in it. Raises OSError."""
    text = (settings.checkout / CADDYFILE).read_text()
    own = settings.checkout / OWN
    return with_own_lines(text, own.read_text() if own.exists() else "")


def with_own_lines(text: str, own: str) -> str:
    """A Caddyfile in one piece: through the socket Caddy does not know what lies beside it."""
    return text.replace(f"import {OWN_IMPORTED}\n", f"{own}\n")


def state(settings: OpsSettings, engine: Engine) -> State:
    """Raises CaddyAway, CaddyRefused, OSError, EngineAway."""
    admin = Admin(settings.caddy_admin)
    wanted = admin.adapted(caddyfile(settings))
    return State(outdated=not same(admin.running(), wanted), as_root=runs_as_root(engine))


def runs_as_root(engine: Engine) -> bool:
    return engine.user("caddy") in ("", "0", "root", "0:0")


def bring_up_media(engine: Engine, compose: Compose, say: Say) -> None:
    """Start what serves the uploads.

    Raises:
        StepFailed: it did not become healthy.
    """
    found = engine.service(MEDIA)
    try:
        if found is None or found.health != "healthy":
            compose.ensure([MEDIA], say=say)
        engine.join("caddy", MEDIA)
    except ProgramFailed as error:
        raise StepFailed(
            f"{MEDIA}, which serves the uploads, did not become healthy. {NOT_MOVED}",
            output=error.output,
            next="docker/standins/ensure   # where no registry is in reach; then: manage.py edge",
        ) from error


def give_volumes(compose: Compose, say: Say) -> None:
    """Let Caddy's user own Caddy's volumes; one that runs as root goes on with them.

    The admin socket is root's to use, too: the group of its directory.

    Raises:
        ProgramFailed: a volume is not given.
    """
    compose.run(
        "caddy",
        ["sh", "-c", GIVE_VOLUMES],
        env={},
        labels={},
        seconds=VOLUME_SECONDS,
        say=say,
        as_root_with=("CHOWN", "FOWNER", "DAC_OVERRIDE"),
    )


def follow(settings: OpsSettings, engine: Engine, compose: Compose, *, say: Say) -> str:
    """Bring up what the Caddyfile needs and put it in force, if it is not; proved, or taken back.

    Returns:
        What came of it.

    Raises:
        OpsError: Caddy goes on with the configuration it has.
    """
    if not compose.has(MEDIA):
        # Its Caddyfile fits the container that its compose file declares, and no other.
        return "Caddy stays as it is: the release is older than its uploads' service"
    bring_up_media(engine, compose, say)
    admin = Admin(settings.caddy_admin)
    try:
        before, wanted = admin.running(), admin.adapted(caddyfile(settings))
        if same(before, wanted):
            return "Caddy runs the Caddyfile of the checkout"
        answered = _front_page(settings)
        admin.load(wanted)
        if wrong := _disproof(settings, answered):
            admin.load(before)
            raise StepFailed(
                f"With the new Caddyfile the front door answers {wrong}, so the old one is in "
                "force again.",
                next="docker compose logs --tail 50 caddy   # then fix docker/caddy/Caddyfile",
            )
    except CaddyRefused as error:
        raise StepFailed(
            f"Caddy does not take the Caddyfile of this release: {error}. {NOT_MOVED}",
            next="docker compose exec caddy caddy validate --config /etc/caddy/Caddyfile",
        ) from error
    except (CaddyAway, OSError) as error:
        raise StepFailed(
            f"Caddy could not be given its Caddyfile: {error}. If it runs, traffic is as it was.",
            next="docker compose ps --all caddy   # then: manage.py edge",
        ) from error
    return "Caddy runs the Caddyfile of the checkout now: loaded, not restarted"


def revive(settings: OpsSettings, engine: Engine, compose: Compose, *, say: Say) -> None:
    """Create a Caddy that does not answer anew; one that answers by now is left alone.

    Raises:
        NobodyServed: it still does not.
    """
    if front_door.answers(settings, seconds=0.0):
        return
    failure = NobodyServed(
        "Caddy does not come up with the Caddyfile of this release.",
        next="docker compose logs --tail 50 caddy   # then correct what it says and deploy",
    )
    try:
        if compose.has(MEDIA):
            bring_up_media(engine, compose, say)
        compose.recreate("caddy", stop_seconds=STOP_SECONDS, say=say)
    except ProgramFailed as error:
        failure.output = error.output
        raise failure from error
    if not front_door.answers(settings, seconds=REVIVE_SECONDS):
        failure.output = engine.logs("caddy", lines=10)
        raise failure


def recreate(settings: OpsSettings, engine: Engine, compose: Compose, *, say: Say) -> float:
    """Create Caddy anew, as the compose files declare it.

    Returns:
        For how many seconds nobody was answered.

    Raises:
        OpsError: it was not touched, or it did not come back.
    """
    for refused in (*names.wrong(settings), *names.wrong_proxies(settings)):
        raise Refused(f"{refused} {NOT_MOVED}", next=f"fix .env, then: {RECREATE}")
    bring_up_media(engine, compose, say)
    try:
        give_volumes(compose, say)
        # In a container of the new kind: what it lacks is known before visitors miss it.
        compose.run(
            "caddy",
            ["caddy", "validate", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
            env={},
            labels={},
            seconds=VOLUME_SECONDS,
            say=lambda line: None,
        )
    except ProgramFailed as error:
        raise StepFailed(
            f"Caddy would not start as it is declared now. {NOT_MOVED}",
            output=error.output,
            next="fix compose.prod.yml or docker/caddy/Caddyfile, then: " + RECREATE,
        ) from error
    answered, begun = _front_page(settings), monotonic()
    try:
        compose.recreate("caddy", stop_seconds=STOP_SECONDS, say=say)
    except ProgramFailed as error:
        raise OpsError(
            "Caddy was stopped and did not come back: visitors are not answered.",
            output=error.output,
            next="docker compose up --detach --no-deps --no-build caddy",
        ) from error
    if wrong := _disproof(settings, answered, seconds=30.0):
        raise OpsError(
            f"Caddy runs as it is declared now, and the front door answers {wrong}.",
            next="docker compose logs --tail 50 caddy",
        )
    return monotonic() - begun


def _front_page(settings: OpsSettings) -> Answer:
    return ask(settings.probe_address, "/health/live", host=settings.site_host)


def _disproof(
    settings: OpsSettings, before: Answer, *, seconds: float = PROOF_SECONDS
) -> Answer | None:
    """The answer when it is not as it was before; None when it is."""
    deadline = monotonic() + seconds
    while True:
        now = _front_page(settings)
        if now.status == before.status or now.status == 200:
            return None
        if monotonic() > deadline:
            return now
        sleep(0.1)
