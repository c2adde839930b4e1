"""A release's Caddyfile, judged by the Caddy that will run it, before anything is touched."""

from __future__ import annotations

import json

from apps.ops.conf import OpsSettings
from apps.ops.edge.admin import Admin, CaddyAway, CaddyRefused, same
from apps.ops.edge.follow import CADDYFILE, OWN, with_own_lines
from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import ProgramFailed
from apps.ops.source import Checkout
from apps.ops.stack.compose import Compose

SECONDS = 60.0
_UNPACKED = "/tmp/release"  # noqa: S108  (the container's own)
_VALIDATE = (
    f"mkdir {_UNPACKED} && tar -x -C {_UNPACKED} && "
    f"caddy validate --config {_UNPACKED}/{CADDYFILE} --adapter caddyfile"
)


def require_valid(
    sha: str, *, settings: OpsSettings, checkout: Checkout, compose: Compose
) -> str | None:
    """What putting a release's Caddyfile in force would do; None when it is in force already.

    Args:
        compose: on the release's own files: its image, environment and volumes of `caddy`.

    Raises:
        Refused: Caddy would not start with it.
        StepFailed: it could not be asked.
    """
    text = checkout.file(sha, str(CADDYFILE))
    if text is None or not compose.has("caddy"):
        return None
    try:
        admin = Admin(settings.caddy_admin)
        whole = with_own_lines(text, checkout.file(sha, str(OWN)) or "")
        if same(admin.adapted(whole), admin.running()):
            return None
    except CaddyRefused as error:
        raise _refused(sha, str(error)) from error
    except CaddyAway:
        pass  # It does not run: one that is made for this can tell.
    try:
        with checkout.archive(sha, str(CADDYFILE.parent)) as files:
            compose.run(
                "caddy",
                ["sh", "-c", _VALIDATE],
                env={},
                labels={},
                seconds=SECONDS,
                say=lambda line: None,
                stdin=files,
            )
    except ProgramFailed as error:
        if why := _said_by_caddy(error.output):
            raise _refused(sha, why) from error
        raise StepFailed(
            f"The Caddyfile of {sha[:12]} could not be validated ({error.found})",
            output=error.output,
            next="docker compose ps --all   # what hinders it? then deploy again",
        ) from error
    return "another Caddyfile: loaded after the swap, without a restart"


def _said_by_caddy(output: str) -> str:
    """Why it refused, in its last line; "" when that is Docker's or Compose's."""
    last = output.rstrip().rpartition("\n")[2]
    try:
        return str(json.loads(last)["msg"])
    except (ValueError, KeyError, TypeError):
        return last.removeprefix("Error: ") if last.startswith("Error: ") else ""


def _refused(sha: str, why: str) -> Refused:
    return Refused(
        f"Caddy would not start with the Caddyfile of {sha[:12]}: {why}",
        next="correct docker/caddy/Caddyfile, commit, and deploy again",
    )
