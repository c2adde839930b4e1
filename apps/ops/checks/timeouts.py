"""What must be shorter than what. In seconds, and each container's grace is Docker's SIGKILL."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from os import cpu_count
from typing import Any

from django.conf import settings
from django.core import checks


def web(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    ops = settings.OPS
    request, graceful = ops.web_request_seconds, ops.web_graceful_seconds
    if not request:
        yield checks.Error(
            "WEB_REQUEST_SECONDS is 0: a request may take for ever, and no drain waits for that.",
            hint="Set it to the longest that a request may take, for example 30.",
            id="ops.E001",
        )
    if ops.drain_seconds < request:
        yield checks.Error(
            f"OPS_DRAIN_SECONDS ({ops.drain_seconds:g}) is less than WEB_REQUEST_SECONDS "
            f"({request:g}): the old colour would be stopped under requests that may still run.",
            hint=f"Set OPS_DRAIN_SECONDS to {request:g} or more.",
            id="ops.E002",
        )
    if graceful <= request:
        yield checks.Error(
            f"WEB_GRACEFUL_SECONDS ({graceful:g}) is not more than WEB_REQUEST_SECONDS "
            f"({request:g}): a stopping gunicorn would cut requests that may still run.",
            hint=f"Set WEB_GRACEFUL_SECONDS to more than {request:g}.",
            id="ops.E003",
        )
    if ops.web_stop_grace_seconds <= graceful:
        yield checks.Error(
            f"WEB_STOP_GRACE_SECONDS ({ops.web_stop_grace_seconds:g}) is not more than "
            f"WEB_GRACEFUL_SECONDS ({graceful:g}): Docker would kill gunicorn while it answers.",
            hint=f"Set WEB_STOP_GRACE_SECONDS to more than {graceful:g}.",
            id="ops.E003",
        )


def worker(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    q: dict[str, Any] = settings.Q_CLUSTER
    grace = settings.OPS.worker_stop_grace_seconds
    timeout, retry = q.get("timeout"), q.get("retry", 60)
    if not timeout:
        yield checks.Error(
            'Q_CLUSTER["timeout"] is not set: a task that hangs would hold its worker for ever.',
            hint='Set "timeout" to the longest that a task may take, for example 60.',
            id="ops.E006",
        )
        return
    if retry <= timeout:
        yield checks.Error(
            f'Q_CLUSTER["retry"] ({retry:g}) is not more than Q_CLUSTER["timeout"] ({timeout:g}): '
            "a task that still runs would be handed out again and run twice.",
            hint=f'Set "retry" to more than {timeout:g}.',
            id="ops.E004",
        )
    if grace <= timeout:
        yield checks.Error(
            f'WORKER_STOP_GRACE_SECONDS ({grace:g}) is not more than Q_CLUSTER["timeout"] '
            f"({timeout:g}): Docker would kill the worker with a task in its hands.",
            hint=f"Set WORKER_STOP_GRACE_SECONDS to more than {timeout:g}.",
            id="ops.E005",
        )
    # A stopping worker finishes what it took: what runs, what is queued in memory, and what
    # django-q2's pusher holds and could not queue yet. Nothing of it is acknowledged before.
    processes = q.get("workers") or cpu_count() or 4
    held = q.get("queue_limit", processes**2) + q.get("bulk", 1)
    longest = timeout * (1 + ceil(held / processes))
    if timeout < retry <= longest:
        yield checks.Warning(
            f"A task can end up to {longest:g} s after a worker took it ({held} may wait for "
            f'{processes} processes), and Q_CLUSTER["retry"] is {retry:g}: when tasks take as '
            "long as they may, some run twice.",
            hint=f'Set "retry" to more than {longest:g}.',
            id="ops.W001",
        )
    if timeout < grace <= longest:
        yield checks.Warning(
            f"A stopping worker finishes what it took, which can take {longest:g} s, and "
            f"WORKER_STOP_GRACE_SECONDS is {grace:g}: Docker would kill it, and what it had not "
            "finished runs again.",
            hint=f"Set WORKER_STOP_GRACE_SECONDS to more than {longest:g}.",
            id="ops.W002",
        )


def care(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    ops = settings.OPS
    request, lock_timeout = ops.web_request_seconds, ops.lock_timeout_seconds
    if not 0 < lock_timeout < (request or float("inf")):
        yield checks.Error(
            f"OPS_LOCK_TIMEOUT_SECONDS is {lock_timeout:g} (0 is for ever): requests queue behind "
            "a migration that waits for its lock, and would be killed there.",
            hint=f"Set it to more than 0 and less than WEB_REQUEST_SECONDS ({request:g}).",
            id="ops.E007",
        )
    if not ops.settle_seconds:
        yield checks.Warning(
            "OPS_SETTLE_SECONDS is 0: traffic moves on a candidate's first ready answer.",
            hint="Set it to 2, so that one which starts and falls over gets no traffic.",
            id="ops.W003",
        )
    if ops.keep_releases < 2:
        yield checks.Warning(
            f"OPS_KEEP_RELEASES is {ops.keep_releases}: deploying one commit twice would remove "
            "the image of the release before it, the way back.",
            hint="Set it to 2 or more.",
            id="ops.W004",
        )
