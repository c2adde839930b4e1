from __future__ import annotations

from contextlib import suppress
from time import monotonic, sleep, time
from typing import NoReturn

from apps.ops.deploys.bake.access_log import Entry, parse
from apps.ops.deploys.bake.judge import Figures, Limits, Span, outside, worse
from apps.ops.deploys.bake.sampler import Sampler
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.drain import drain
from apps.ops.deploys.proof import front_door
from apps.ops.deploys.steps.base import Step
from apps.ops.edge.inflight import in_flight
from apps.ops.edge.probe import Answer, ask
from apps.ops.errors import OpsError, StepFailed, SwappedBack
from apps.ops.stack.log_follower import LogFollower
from apps.ops.stack.service import Service

WEB_PORT = 8000
LOOK_SECONDS = 1.0
PROBE_INTERVAL_SECONDS = 1.0
# Short, or a restart of Redis falls between two looks.
READY_INTERVAL_SECONDS = 0.25
READY_SECONDS = 3.0
# After a boot; a release that is not ready by then is watched as it is.
UP_AGAIN_SECONDS = 120.0
MIN_BASELINE_SECONDS = 30.0
WRONG_PROBES = 3
# Around a moment in which the old colour was not ready: what broke it began before we looked, and
# what it broke is logged when it ends.
TROUBLE_MARGIN_SECONDS = 2.0

GOOD, WORSE, TOO_FEW = "good", "worse", "too few requests"
NOT_FINISHED = "not finished"


class Bake(Step):
    """Watch the new colour answer real visitors, and move traffic back when it does worse than the
    old one did just before."""

    name = "bake"
    after_swap = True

    def run(self, deploy: Deploy) -> str:
        if not deploy.options.bake or not deploy.settings.bake_seconds:
            return "not watched"
        if deploy.nobody_served:
            return "not watched: Caddy does not answer, so nobody asks"
        if deploy.resumed:
            _wait_until_up_again(deploy)
        watched = _Watched(deploy)
        deploy.bake = watched.figures(NOT_FINISHED)
        try:
            return self._watch(deploy, watched)
        finally:
            watched.stop()

    def _watch(self, deploy: Deploy, watched: _Watched) -> str:
        why: str | None = None
        deadline = monotonic() + deploy.settings.bake_seconds
        while (left := deadline - monotonic()) > 0:
            sleep(min(LOOK_SECONDS, left))
            if (live := deploy.edge.live()) is not deploy.plan.candidate:
                deploy.warnings.append(
                    f"Somebody moved the traffic to {live} while {deploy.plan.candidate} was "
                    "watched. Next: manage.py status"
                )
                return "not watched to the end"
            if not (why := watched.worse()):
                continue
            if obstacle := _no_way_back(deploy):
                return _stay(deploy, watched, why, obstacle)
            # The old colour is asked now, and all is judged again with what it says: what broke
            # both is not this release's fault.
            if watched.old_is_ready() and (why := watched.worse()):
                _move_back(deploy, watched, why)
        if why and (why := watched.worse()):
            return _stay(deploy, watched, why, f"{deploy.plan.live} was not ready either")
        deploy.bake = watched.figures()
        return watched.summary()


class _Watched:
    """What is known at this moment about both colours."""

    def __init__(self, deploy: Deploy) -> None:
        assert deploy.swapped_at is not None, "the swap comes before"
        settings, plan = deploy.settings, deploy.plan
        self._deploy = deploy
        self._begun = monotonic()
        self._swapped_at = deploy.swapped_at.timestamp()
        # Nobody watched what killed the deployment, a power cut say, and whom it hit.
        self._since = time() if deploy.resumed else self._swapped_at
        self._restarts_before = _restarts(deploy) if deploy.resumed else 0
        self._limits = Limits(
            settings.bake_min_requests, settings.bake_error_points, settings.bake_slower_factor
        )
        baseline = self._swapped_at - max(settings.bake_seconds, MIN_BASELINE_SECONDS)
        self._log = LogFollower(settings.project, "caddy", since=baseline)
        self._old_entries: list[Entry] = []
        self._new_entries: list[Entry] = []
        self._probe = front_door(deploy, plan.candidate, plan.commit.sha)
        self._probes = Sampler(self._ask_front_door, every_seconds=PROBE_INTERVAL_SECONDS)
        self._old_service: Service | None = None
        self._old = Sampler(self._ask_old, every_seconds=READY_INTERVAL_SECONDS)

    def stop(self) -> None:
        for part in (self._log, self._probes, self._old):
            part.stop()

    def old_is_ready(self) -> bool:
        return self._old.sample().wrong is None

    def worse(self) -> str | None:
        """What is worse since the swap, a sentence with figures; None if nothing is."""
        self._read()
        return (
            self._probes_wrong()
            or self._crashed()
            or worse(
                self._old_entries,
                self._new(),
                watched_since=self._since,
                now=time(),
                limits=self._limits,
            )
        )

    def figures(self, verdict: str = "") -> dict[str, object]:
        old, new = Figures.of(self._old_entries), Figures.of(self._new())
        if not verdict:
            verdict = TOO_FEW if new.requests < self._limits.min_requests else GOOD
        return {
            "seconds": round(monotonic() - self._begun, 1),
            "old": old.as_json(),
            "new": new.as_json(),
            "verdict": verdict,
        }

    def summary(self) -> str:
        old, new = Figures.of(self._old_entries), Figures.of(self._new())
        if new.requests < self._limits.min_requests:
            unread = "" if self._log.opened else "; Caddy's log could not be read"
            return f"too few requests to judge ({new.requests}); the probes were right{unread}"
        return (
            f"good: {new.error_percent:.1f} % of {new.requests} answers were 5xx (before "
            f"{old.error_percent:.1f} %), 90 % within {1000 * new.p90_seconds:.0f} ms (before "
            f"{1000 * old.p90_seconds:.0f} ms)"
        )

    def _read(self) -> None:
        for line in self._log.lines():
            if not (entry := parse(line)):
                continue
            if entry.color is self._deploy.plan.candidate:
                # Earlier ones were previews, or before the power cut.
                if entry.ended_at >= self._since:
                    self._new_entries.append(entry)
            elif entry.ended_at <= self._swapped_at:
                self._old_entries.append(entry)

    def _new(self) -> list[Entry]:
        return outside(self._new_entries, self._trouble())

    def _trouble(self) -> list[Span]:
        """When the old colour, which gets no traffic, was not ready either."""
        margin = TROUBLE_MARGIN_SECONDS
        return [Span(s.begin - margin, s.end + margin) for s in self._old.samples if s.wrong]

    def _probes_wrong(self) -> str | None:
        trouble = self._trouble()
        counted = [
            sample
            for sample in self._probes.samples
            if not any(t.begin <= sample.end and sample.begin <= t.end for t in trouble)
        ]
        last = counted[-WRONG_PROBES:]
        if len(last) < WRONG_PROBES or not all(sample.wrong for sample in last):
            return None
        return f"The front door answered {WRONG_PROBES} probes in a row wrong: {last[-1].wrong}."

    def _crashed(self) -> str | None:
        name = self._deploy.plan.candidate.service
        try:
            service = self._deploy.engine.service(name)
        except OpsError:
            return None  # Docker is away: not measured is not bad.
        if service is None:
            return f"The container of {name} is gone."
        if not service.running:
            return f"{name} crashed (exit code {service.exit_code})."
        if (restarts := service.restarts - self._restarts_before) > 0:
            return f"{name} crashed and was restarted {restarts} times."
        return None

    def _ask_front_door(self) -> Answer | None:
        wrong = None if self._deploy.edge.in_maintenance() else self._probe()
        if wrong and not wrong.status and not self._caddy_runs():
            return None  # It restarts, say: the other colour would not be reached either.
        return wrong

    def _caddy_runs(self) -> bool:
        settings = self._deploy.settings
        return in_flight(settings.caddy_admin, self._deploy.plan.candidate) is not None

    def _ask_old(self) -> Answer | None:
        if self._old_service is None:
            try:
                found = self._deploy.engine.service(self._deploy.plan.live.service)
            except OpsError as error:
                return Answer(0, reason=error.found)
            if found is None or not found.running:
                return None  # There is none to compare with: `_no_way_back` says so.
            self._old_service = found
        answer = _ready(self._deploy, self._old_service)
        if answer.status == 200:
            return None
        self._old_service = None  # Its container may have got another address.
        return answer


def _wait_until_up_again(deploy: Deploy) -> None:
    """All of the stack may be starting: that is not how this release answers."""
    deadline = monotonic() + UP_AGAIN_SECONDS
    while monotonic() < deadline:
        with suppress(OpsError):
            service = deploy.engine.service(deploy.plan.candidate.service)
            if service and service.running and _ready(deploy, service).status == 200:
                return
        sleep(LOOK_SECONDS)


def _ready(deploy: Deploy, service: Service) -> Answer:
    address = f"{service.address}:{WEB_PORT}"
    host = deploy.settings.site_host
    return ask(address, "/health/ready", host=host, seconds=READY_SECONDS)


def _restarts(deploy: Deploy) -> int:
    with suppress(OpsError):
        if service := deploy.engine.service(deploy.plan.candidate.service):
            return service.restarts
    return 0


def _no_way_back(deploy: Deploy) -> str | None:
    """Why traffic cannot be moved back, half a sentence; None when it can."""
    if deploy.schema_is_new or (deploy.intended("migrate") or {}).get("contract"):
        return "its migrations have changed the schema in a way the old release cannot run with"
    try:
        service = deploy.engine.service(deploy.plan.live.service)
    except OpsError:
        return None  # Docker is away; whether the old colour answers decides.
    if service is None:
        return f"there is no {deploy.plan.live} to go back to"
    return None if service.running else f"{deploy.plan.live} does not run ({service.status})"


def _stay(deploy: Deploy, watched: _Watched, why: str, obstacle: str) -> str:
    deploy.bake = watched.figures(WORSE)
    deploy.warnings.append(
        f"{deploy.plan.candidate} does worse: {why} It was left live, because {obstacle}. "
        "Next: manage.py status   # then fix the release and deploy it"
    )
    return "worse, and no way back"


def _move_back(deploy: Deploy, watched: _Watched, why: str) -> NoReturn:
    plan = deploy.plan
    deploy.bake = watched.figures(WORSE)
    # Without room to write it down it is done all the same: the release fails its users.
    with suppress(StepFailed):
        deploy.intend("bake", moving_back=True, why=why)
    try:
        deploy.edge.point_to(plan.live)
    except OSError as error:
        if deploy.edge.live() is not plan.live:
            raise StepFailed(
                f"{plan.candidate} does worse ({why}) and the edge could not be written: {error}.",
                next="df -h   # is a disk full?",
            ) from error
    deploy.moved_back = True
    deploy.say(f"{plan.candidate} does worse: traffic is back on {plan.live}. {why}")
    output = ""
    with suppress(OpsError):
        output = deploy.engine.logs(plan.candidate.service, lines=30)
    drain(deploy, plan.candidate)
    raise SwappedBack(
        f"Release {plan.commit.short} ({plan.candidate}) did worse than the one before. {why}",
        output=output,
        next="manage.py status   # then fix the release: its logs are above",
    )
