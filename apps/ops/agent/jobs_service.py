"""The service that runs the site's lines of the crontab, without the socket, follows the agent."""

from __future__ import annotations

import logging
from time import monotonic

from apps.ops.conf import OpsSettings
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from apps.ops.stack.followers import followers

logger = logging.getLogger(__name__)

SERVICE = "jobs"
# Its image is the worker's, which a deployment tags before the agent follows.
TAG = "worker"
AGENT = "utility"
AGAIN_SECONDS = 30.0


class JobsService:
    """Started by the agent of its release, and once: from then on Docker keeps it up.

    Args:
        release: the agent's.
    """

    def __init__(self, settings: OpsSettings, *, release: str) -> None:
        self._settings = settings
        self._release = release
        self._engine = Engine(settings.project)
        self._not_before = 0.0
        self._renewed = self._done = False

    def look(self) -> None:
        """Let the service follow, as soon as it can.

        Raises:
            OpsError, ProgramFailed: it could not be started, or Docker does not answer; it is tried
                again after AGAIN_SECONDS.
        """
        if self._done or monotonic() < self._not_before:
            return
        self._not_before = monotonic() + AGAIN_SECONDS
        if self._engine.release_of(TAG) != self._release:
            return  # A deployment is on its way, and the agent that it brings sees to it.
        found = followers(self._engine, SERVICE, image=self._engine.image_id(TAG))
        if not found.running and self._an_older_agent_runs():
            # One of before the two were apart may have a job of the site in its hands.
            self._not_before = 0.0
            return
        # Asked to end once: the second time would cut its jobs short.
        if not self._renewed and (found.old or not found.running):
            settings = self._settings
            files = tuple(settings.checkout / file for file in settings.compose_files)
            compose = Compose(settings.project, settings.checkout, files)
            found.renew(self._engine, compose, say=lambda line: logger.debug("%s", line))
            logger.info("the jobs service runs %s", self._release[:12])
            self._renewed = True
        # What has ended is removed at the next look: after a reboot it would come back.
        self._done = not found.old

    def _an_older_agent_runs(self) -> bool:
        return bool(followers(self._engine, AGENT, image=self._engine.image_id(AGENT)).old)
