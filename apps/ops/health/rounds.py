"""What comes of a round of checks: it is remembered, Postgres is told, and then people are.

Each works without the other: Postgres may be what is down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

from apps.ops.conf import OpsSettings
from apps.ops.deadlines import side_by_side
from apps.ops.health import state
from apps.ops.health.notify.channels import Channel, NotTold, channels, ping
from apps.ops.health.notify.news import Message, News, news_for
from apps.ops.health.record import project
from apps.ops.health.result import Result, Status
from apps.ops.health.runner import Finding
from apps.ops.health.state import Known
from apps.ops.redact import first_line

LOCK = "health-told.lock"
# Longer than a mail server gets (EMAIL_TIMEOUT): a message that was taken must not be sent again.
NOTIFY_SECONDS = 20.0
BUSY = timedelta(minutes=10)
NOT_REMEMBERED = "Nothing can be remembered (see the state volume): it is told in every round."


def remember(findings: Sequence[Finding], settings: OpsSettings, *, whole: bool) -> None:
    """Take in what was found.

    Args:
        whole: whether these were all the checks; then others are forgotten.

    Raises:
        OSError: the state directory cannot be written.
    """
    now = datetime.now(UTC)
    keys = {channel.key for channel in channels(settings)}
    with state.changing(settings.state_dir) as known:
        for finding in findings:
            check = known.setdefault(finding.name, Known.new(now))
            check.see(_as_it_counts(finding, check, now), now)
        if whole:
            there = {finding.name for finding in findings}
            for name in [n for n in known if n not in there and not known[n].pending]:
                del known[name]
        for check in known.values():
            check.told = {key: status for key, status in check.told.items() if key in keys}


def _as_it_counts(finding: Finding, check: Known, now: datetime) -> Result:
    """A machine that is busy for long serves nobody well: then what was held back counts."""
    if finding.held_back and (
        check.status == Status.BAD or (check.status == Status.UNKNOWN and now - check.since >= BUSY)
    ):
        return finding.held_back
    return finding.result


def pass_on(
    settings: OpsSettings,
    *,
    until: float,
    findings: Sequence[Finding],
    whole: bool,
    remembered: bool = True,
) -> list[str]:
    """Bring Postgres up to date and tell who has to be told, side by side.

    Args:
        until: when Postgres is no longer waited for, as `monotonic()` tells the time. A channel
            gets NOTIFY_SECONDS. What does not get through is tried again by the next round.
        whole: whether these were all the checks; only then the ping is sent.
        remembered: whether `remember` took in what was found. If not, what is bad now is told as
            it is, and the ping says that something is bad.

    Returns:
        What did not get through, as sentences.
    """
    good = remembered and all(finding.result.status != Status.BAD for finding in findings)
    wanted = whole and settings.ping_url
    ping_job = partial(ping, settings.ping_url, good=good) if wanted else None
    if not remembered:
        return _send(_bad_now(findings, settings), ping_job, settings)
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        with state.lock(settings.state_dir / LOCK, seconds=0):
            return _pass_on(settings, until, ping_job)
    except OSError:
        # Another round is at it, and what it does not see, the next one does.
        return _send([], ping_job, settings)


def _pass_on(settings: OpsSettings, until: float, ping_job: Callable[[], None] | None) -> list[str]:
    known = state.load(settings.state_dir)
    to_tell = list(_to_tell(known, settings))
    jobs: list[Callable[[], None]] = [partial(project, known, settings)]
    jobs += _jobs(to_tell, ping_job, settings)
    deadlines = [until] + [monotonic() + NOTIFY_SECONDS] * (len(jobs) - 1)
    recorded, *answers = side_by_side(jobs, until=deadlines)
    told = [
        (c.key, news) for (c, news), answer in zip(to_tell, answers, strict=False) if answer is None
    ]
    warnings = []
    if isinstance(recorded, BaseException):
        warnings.append(
            "Postgres does not have the last results yet "
            f"({first_line(recorded)}); the next round tries again."
        )
    warnings += _not_told_warnings(to_tell, answers)
    try:
        _note(settings, {} if isinstance(recorded, BaseException) else known, told)
    except OSError as error:
        warnings.append(f"Who was told cannot be written down: {error}. They are told again.")
    return warnings


def _to_tell(known: Mapping[str, Known], settings: OpsSettings) -> list[tuple[Channel, list[News]]]:
    found = [
        (c, news_for(c.key, known, after_seconds=settings.notify_after_seconds))
        for c in channels(settings)
    ]
    return [(channel, news) for channel, news in found if news]


def _bad_now(
    findings: Sequence[Finding], settings: OpsSettings
) -> list[tuple[Channel, list[News]]]:
    """What is bad in this round, for each channel that is not known to have been told."""
    now, known = datetime.now(UTC), state.load(settings.state_dir)
    bad = [finding for finding in findings if finding.result.status == Status.BAD]
    to_tell = []
    for channel in channels(settings):
        told = {name for name, k in known.items() if k.told.get(channel.key) == Status.BAD}
        news = [
            News(f.name, Status.BAD, f"{f.result.summary} {NOT_REMEMBERED}", f.result.next, now)
            for f in bad
            if f.name not in told
        ]
        if news:
            to_tell.append((channel, news))
    return to_tell


def _note(
    settings: OpsSettings,
    recorded: Mapping[str, Known],
    told: Sequence[tuple[str, Sequence[News]]],
) -> None:
    """Write down what Postgres has now, and who was told what."""
    if not told and not any(check.pending for check in recorded.values()):
        return
    with state.changing(settings.state_dir) as known:
        for name, check in recorded.items():
            if name in known:
                there = {change.key for change in check.pending}
                known[name].pending = [c for c in known[name].pending if c.key not in there]
        for key, news in told:
            for item in news:
                if item.name in known:
                    known[item.name].told[key] = item.status


def _send(
    to_tell: Sequence[tuple[Channel, list[News]]],
    ping_job: Callable[[], None] | None,
    settings: OpsSettings,
) -> list[str]:
    """Tell these, without Postgres and without writing down who was told."""
    jobs = _jobs(to_tell, ping_job, settings)
    answers = side_by_side(jobs, until=[monotonic() + NOTIFY_SECONDS] * len(jobs))
    return _not_told_warnings(to_tell, answers)


def _jobs(
    to_tell: Sequence[tuple[Channel, list[News]]],
    ping_job: Callable[[], None] | None,
    settings: OpsSettings,
) -> list[Callable[[], None]]:
    jobs: list[Callable[[], None]] = [
        partial(c.send, Message(settings.site_host, news)) for c, news in to_tell
    ]
    return [*jobs, ping_job] if ping_job else jobs


def _not_told_warnings(
    to_tell: Sequence[tuple[Channel, list[News]]], answers: Sequence[BaseException | None]
) -> list[str]:
    labels = [c.label for c, _ in to_tell] + ["ping"]
    return [
        _not_told(label, answer)
        for label, answer in zip(labels, answers, strict=False)
        if isinstance(answer, BaseException)
    ]


def _not_told(label: str, error: BaseException) -> str:
    if isinstance(error, NotTold):
        return f"Not told: {error} The next round tries again."
    # Anything else may quote the address, which is a secret.
    why = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return f"Not told: {label}: {why}. The next round tries again."
