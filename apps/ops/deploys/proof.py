"""Proving that a release serves: on its own address, then through the front door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

from apps.ops.colors import Color
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.watch import Watch
from apps.ops.edge.probe import Answer, ask
from apps.ops.errors import StepFailed

CHECK_SECONDS = 0.5
PROOF_ANSWERS = 3
PROOF_SECONDS = 5.0


def wait_until_ready(deploy: Deploy, watch: Watch) -> None:
    """Wait for the candidate's first ready answer, of the right release and colour.

    Raises:
        StepFailed: it crashed, is somebody else, or was not ready within `start_seconds`.
    """
    service = deploy.plan.candidate.service
    deadline = monotonic() + deploy.settings.start_seconds
    look = monotonic() + CHECK_SECONDS
    while not watch.ready_seconds:
        if monotonic() > deadline:
            raise _failed(
                deploy,
                f"{service} was not ready within {deploy.settings.start_seconds:g} s: "
                f"{watch.last}.",
            )
        if monotonic() > look:
            look = monotonic() + CHECK_SECONDS
            require_running(deploy)
        sleep(0.01)
    _require_identity(deploy, watch.last.body, f"{service} at its own address")


def wait_until_settled(deploy: Deploy, watch: Watch) -> None:
    """Wait until it has been ready for `settle_seconds` without a break.

    Raises:
        StepFailed: it kept on breaking for as long as it may take to start.
    """
    settle = deploy.settings.settle_seconds
    deadline = monotonic() + settle + deploy.settings.start_seconds
    look = 0.0
    while watch.ready_seconds < settle or not watch.ready_seconds:
        if monotonic() > deadline:
            raise _failed(
                deploy,
                f"{deploy.plan.candidate.service} was never ready for {settle:g} s in a row: "
                f"{watch.last}.",
            )
        if monotonic() > look:
            look = monotonic() + CHECK_SECONDS
            require_running(deploy)
        sleep(0.005)


def require_running(deploy: Deploy) -> None:
    """Raises StepFailed when the candidate's container ended, or was restarted by Docker."""
    name = deploy.plan.candidate.service
    service = deploy.engine.service(name)
    if service is None:
        raise _failed(deploy, f"{name} is gone: somebody removed its container.")
    if not service.running or service.restarts:
        raise _failed(deploy, f"{name} crashed (exit code {service.exit_code}).")


def smoke(deploy: Deploy, own_address: str, *, token: str) -> None:
    """Every smoke path answers with the site's real Host, from the right release and colour: at the
    candidate's own address and, with a preview token, through the front door; all at once.

    Args:
        token: "" when there is no front door.

    Raises:
        StepFailed: one does not.
    """
    ways = [("at its own address", own_address, "")]
    if token:
        ways.append(("through the front door", deploy.settings.probe_address, token))
    host = deploy.settings.site_host
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = [
            (where, path, pool.submit(ask, address, path, host=host, token=token))
            for where, address, token in ways
            for path in deploy.smoke_paths
        ]
    for where, path, future in asked:
        answer = future.result()
        what = f"{deploy.plan.candidate.service} {where}, GET {path},"
        if not answer.status and where == "through the front door":
            raise StepFailed(
                f"{what} answered {answer}: Caddy does not run or does not answer.",
                next="docker compose ps --all caddy   # then: docker compose up -d --no-deps "
                "--no-build caddy",
            )
        if not 200 <= answer.status < 400:
            raise _failed(deploy, f"{what} answered {answer}.")
        _require_identity(deploy, {"release": answer.release, "color": answer.color}, what)


def wrong_at_the_front_door(deploy: Deploy) -> str | None:
    """The last wrong answer, or None after several right ones in a row, or behind the page."""
    if deploy.edge.in_maintenance():
        return None
    ask_once = front_door(deploy, deploy.plan.candidate, deploy.plan.commit.sha)
    deadline = monotonic() + PROOF_SECONDS
    in_a_row = 0
    while True:
        wrong = ask_once()
        in_a_row = 0 if wrong else in_a_row + 1
        if in_a_row == PROOF_ANSWERS:
            return None
        if wrong and monotonic() > deadline:
            return str(wrong)
        if wrong:
            sleep(0.1)


def front_door(deploy: Deploy, color: Color, release: str) -> Callable[[], Answer | None]:
    """Ask as everybody does; returns the answer when it is not the colour's, None when it is."""

    def ask_once() -> Answer | None:
        answer = ask(
            deploy.settings.probe_address,
            deploy.smoke_paths[0] if deploy.smoke_paths else "/health/live",
            host=deploy.settings.site_host,
        )
        right = 200 <= answer.status < 400 and answer.release == release and answer.color == color
        return None if right else answer

    return ask_once


def _require_identity(deploy: Deploy, said: Mapping[str, object], what: str) -> None:
    expected = {"release": deploy.plan.commit.sha, "color": str(deploy.plan.candidate)}
    for key, value in expected.items():
        if said.get(key) != value:
            raise _failed(
                deploy,
                f"{what} says that it is {key} {said.get(key) or 'unknown'!s:.12}, "
                f"and should be {value:.12}.",
            )


def _failed(deploy: Deploy, found: str) -> StepFailed:
    service = deploy.plan.candidate.service
    return StepFailed(
        found,
        output=deploy.engine.logs(service, lines=30),
        next="fix the release and deploy again; its last lines are above",
    )
