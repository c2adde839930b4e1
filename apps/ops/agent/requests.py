"""Starts what was asked for in the admin, each in a container of its own, and sees how it ends."""

from __future__ import annotations

import logging
from time import monotonic

from django.utils import timezone

from apps.ops import security_log
from apps.ops.agent import answers
from apps.ops.conf import OpsSettings
from apps.ops.deploys import journal, requests
from apps.ops.deploys.lock import held_by
from apps.ops.errors import Busy, Refused
from apps.ops.models import Deployment
from apps.ops.processes import ProgramFailed
from apps.ops.redact import Redactor
from apps.ops.requester import printable, through_the_site
from apps.ops.stack.compose import Compose
from apps.ops.stack.one_offs import OneOff, OneOffs

logger = logging.getLogger(__name__)

SERVICE = "utility"
LABEL = "changeover.request"
LAST_LINES = 20
# One that could not begin, because another deployment runs, is tried more and more rarely.
PUT_BACK_SECONDS = 30.0
PUT_BACK_AT_MOST_SECONDS = 300.0


class Requests:
    """One agent's look at the rows. All of it can be killed anywhere and begun again, by another
    agent too: the row is claimed by one, the container's name exists once, and what it runs looks
    again, holding the deploy lock, whether it still has to.

    Args:
        command: what the kind and the options of a request are added to.
        put_back_seconds: how long one that was put back is left alone; each time twice as long.
    """

    def __init__(
        self,
        settings: OpsSettings,
        *,
        command: tuple[str, ...],
        put_back_seconds: float = PUT_BACK_SECONDS,
    ) -> None:
        self._settings = settings
        self._command = command
        self._one_offs = OneOffs(settings.project)
        self._failed_once: set[str] = set()
        self._put_back_seconds = put_back_seconds
        # By the row's number: how long it is left alone, and until when.
        self._put_back: dict[int, tuple[float, float]] = {}

    def look(self) -> None:
        """Take the next one, start what is taken, close what ended without a word.

        Raises:
            DatabaseError: Postgres does not answer.
            OpsError: Docker does not answer, or Compose failed: tried again the next time.
        """
        answers.answer(self._settings)
        requests.expire()
        waiting = requests.claimed()
        # One at a time: the others wait in the queue, not for the lock.
        if not waiting and held_by(self._settings.state_dir) is None:
            now = monotonic()
            resting = [number for number, (_, until) in self._put_back.items() if now < until]
            row = requests.claim(resting=resting)
            waiting = [row] if row else []
        for row in waiting:
            self._see_to(row)

    def tidy(self) -> int:
        """Remove the containers of what has ended and is in the history; how many there were.

        Raises:
            DatabaseError, OpsError: as `look`.
        """
        ended = [one for one in self._one_offs.labelled(LABEL) if one.ended]
        uids = [one.labels[LABEL] for one in ended]
        waiting = Deployment.objects.exclude(status__in=Deployment.TERMINAL)
        keep = set(waiting.filter(uid__in=uids).values_list("uid", flat=True))
        done = [one for one in ended if one.labels[LABEL] not in keep]
        for one in done:
            self._one_offs.remove_ended(one.name)
        answers.prune()
        security_log.prune()
        return len(done)

    def _see_to(self, row: Deployment) -> None:
        assert row.uid is not None
        if not journal.is_uid(row.uid):
            requests.fail(row, "No agent has given it its name.")
            return
        name = f"{self._settings.project}-request-{row.uid}"
        container = self._one_offs.find(name)
        if requests.has_begun(self._settings.state_dir, row.uid):
            return  # Its journal tells how it goes; what it left is recovered like any other's.
        if container and container.ended:
            self._close(row, container)
        elif container is None or container.status == "created":
            if timezone.now() - row.created_at > requests.PATIENCE:
                requests.fail(row, "It was taken and could not be started for more than an hour.")
            elif container:
                self._one_offs.start(name)
            else:
                self._start(row, row.uid, name)

    def _start(self, row: Deployment, uid: str, name: str) -> None:
        settings = self._settings
        try:
            requests.require_allowed(row.kind, row.ref, settings)
        except Refused as error:
            requests.fail(row, error.found, next=error.next, exit_code=error.exit_code)
            return
        by = through_the_site(row.requested_by)
        logger.info("%s #%s of %s: starting %s", row.kind, row.pk, by, name)
        compose = Compose(
            settings.project,
            settings.checkout,
            tuple(settings.checkout / file for file in settings.compose_files),
        )
        try:
            compose.start_one_off(
                SERVICE,
                [*self._command, row.kind, "--request", uid, *([row.ref] if row.ref else [])],
                name=name,
                env={
                    "OPS_REQUESTED_BY": by,
                    "OPS_REQUESTED_FROM": printable(row.requested_from) or "admin",
                },
                labels={LABEL: uid},
                say=lambda line: logger.debug("%s", line),
            )
        except ProgramFailed as error:
            # Another agent can be faster: Docker has given it the name, and shows the container an
            # instant later. The second failure is one.
            if uid not in self._failed_once:
                self._failed_once.add(uid)
            elif self._one_offs.find(name) is None:
                requests.fail(
                    row,
                    Redactor.from_environment().clean(
                        f"It could not be started.\n\n{error.output}"
                    ),
                    next="docker compose run --rm utility python manage.py deploy",
                )

    def _close(self, row: Deployment, container: OneOff) -> None:
        """It ended before it wrote anything down."""
        if container.exit_code == Busy.exit_code and requests.put_back(row):
            before, _ = self._put_back.get(row.pk, (self._put_back_seconds / 2, 0.0))
            pause = min(before * 2, PUT_BACK_AT_MOST_SECONDS)
            self._put_back[row.pk] = (pause, monotonic() + pause)
            logger.info("%s #%s could not begin; again in %g s", row.kind, row.pk, pause)
            return
        output = self._one_offs.output(container.name, lines=LAST_LINES)
        found = f"It ended with exit code {container.exit_code} before it began.\n\n{output}"
        if requests.fail(row, Redactor.from_environment().clean(found.strip())):
            logger.warning("%s #%s ended before it began", row.kind, row.pk)
