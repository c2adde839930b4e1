"""A command that goes on when nobody is connected: started on the server, followed from here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic, sleep

from apps.ops.errors import OpsError
from apps.ops.remote import commands
from apps.ops.remote.asking import Say
from apps.ops.remote.commands import LABEL, NOT_STARTED, Words
from apps.ops.remote.connection import Connection
from apps.ops.remote.failures import LinkLost, NameNotFound, NotReached, RemoteFailed
from apps.ops.remote.log_stream import LogStream, Show

START_SECONDS = 180.0
ASK_SECONDS = 30.0
APPEAR_SECONDS = 60.0
LOOK_SECONDS = 0.5
# A laptop that slept, a train in a tunnel.
AGAIN_SECONDS = 900.0
LONGEST_PAUSE_SECONDS = 10.0
KEEP_ENDED = "168h"
NAME = re.compile(r"remote-[A-Za-z0-9_-]+")


class Wish(Enum):
    """What whoever pressed Ctrl-C wants."""

    FOLLOW = "follow"
    DETACH = "detach"
    CANCEL = "cancel"


class Detached(OpsError):
    """It goes on, and nobody here looks."""

    exit_code = RemoteFailed.exit_code


class DockerAway(RemoteFailed):
    """The server is there, and its Docker does not answer."""


class Gone(OpsError):
    """There is no such container: it was never started, or somebody saw its end and removed it."""

    exit_code = RemoteFailed.exit_code


@dataclass(frozen=True, slots=True)
class State:
    status: str
    exit_code: int
    words: Words

    @property
    def ended(self) -> bool:
        return self.status in ("exited", "dead")


class Follower:
    """Runs things on one server, over as many links as it takes.

    Args:
        link: makes a link.
        say: told what happens to the link.
        wish: asked after a Ctrl-C.
    """

    def __init__(
        self, link: Callable[[], Connection], *, say: Say, wish: Callable[[], Wish]
    ) -> None:
        self._connect = link
        self._connection: Connection | None = None
        self._say = say
        self._wish = wish
        self._to_cancel = False
        self._heard: set[str] = set()

    def start(self, argv: Sequence[str], name: str) -> None:
        """Start a container. When the link is lost meanwhile, it is there or not; `follow` says.

        Raises:
            RemoteFailed: it cannot be reached, or it does not start.
        """
        connection = self._link()
        try:
            done = connection.run(argv, seconds=START_SECONDS)
        except LinkLost:
            self._say(f"The link was lost while {name} was started.")
            return
        except KeyboardInterrupt:
            self._heed(name)  # It starts all the same.
            return
        if done.code:
            why = NOT_STARTED.get(done.code, f"exit code {done.code}")
            raise RemoteFailed(
                f"On {connection.server}, in {connection.server.directory}, it could not be "
                f"started: {why}.",
                output=(done.output + done.errors).strip(),
                traffic="Nothing was begun; traffic is as it was.",
                next="manage.py remote doctor",
            )

    def newest(self) -> str:
        """The name of what was started last and is still there.

        Raises:
            Gone: nothing is.
        """
        connection = self._link()
        done = self._docker(
            *("ps", "--all", "--format", "{{.Names}}"),
            *("--filter", f"label={LABEL}={connection.server.directory}"),
        )
        if not done:
            raise Gone(
                f"On {connection.server} there is nothing to follow: nothing was started from "
                "here, or its end was seen already.",
                next="manage.py remote history",
            )
        return done.split()[0]

    def state(self, name: str) -> State:
        """How it goes.

        Raises:
            Gone: there is no such container.
        """
        label = json.dumps(commands.COMMAND_LABEL)
        said = self._docker(
            *("inspect", "--type", "container", "--format"),
            f"{{{{.State.Status}}}} {{{{.State.ExitCode}}}} {{{{index .Config.Labels {label}}}}}",
            name,
        )
        status, code, *command = said.split(" ", 2)
        return State(status, int(code), Words.of(shlex.split("".join(command)) or ["?"]))

    def follow(self, name: str, *, on_stdout: Show, on_stderr: Show) -> int:
        """Hand on each line once, to its end; the container is removed then.

        Returns:
            Its exit code.

        Raises:
            Detached: whoever sits here wants to go.
            Gone: there is no such container.
            RemoteFailed: the server could not be reached again.
        """
        streams = (LogStream(on_stdout, self._docker_says), LogStream(on_stderr, self._docker_says))
        is_there = False
        while True:
            try:
                state = self._appeared(name, is_there=is_there)
                is_there = True
                if self._to_cancel and not state.ended:
                    self._cancel(name)
                begun = monotonic()
                self._read(name, streams, follow=not state.ended)
                if state.ended:
                    self._tidy(name)
                    return state.exit_code
                if monotonic() - begun < LOOK_SECONDS:
                    sleep(LOOK_SECONDS)  # Docker has no log of it to follow.
            except LinkLost:
                self._say("The link is lost; what runs there goes on. Connecting again …")
            except KeyboardInterrupt:
                self._heed(name)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _appeared(self, name: str, *, is_there: bool) -> State:
        """A start that the link was lost in may still be on its way; Docker may be restarting."""
        by = monotonic() + APPEAR_SECONDS
        while True:
            try:
                state = self.state(name)
                if state.status != "created" or monotonic() > by:
                    return state
            except (DockerAway, Gone) as error:
                if monotonic() > by or (is_there and isinstance(error, Gone)):
                    raise
            sleep(LOOK_SECONDS)

    def _read(self, name: str, streams: Sequence[LogStream], *, follow: bool) -> None:
        begin = [stream.since for stream in streams]
        argv = ["docker", "logs", "--timestamps", *(["--follow"] if follow else [])]
        # A stream that never said anything may have said something just then.
        argv += ["--since", min(begin)] if all(begin) else []
        for stream in streams:
            stream.begin()
        out, err = streams
        self._link().stream(
            [*argv, name],
            on_stdout=out.feed,
            on_stderr=err.feed,
            seconds=None if follow else START_SECONDS,
        )
        for stream in streams:
            stream.end()

    def _tidy(self, name: str) -> None:
        try:
            link = self._link()
            link.run(["docker", "rm", name], seconds=ASK_SECONDS)
            link.run(
                ["docker", "container", "prune", "--force", "--filter", f"label={LABEL}"]
                + ["--filter", f"until={KEEP_ENDED}"],
                seconds=ASK_SECONDS,
            )
        except RemoteFailed:
            return  # How it ended is known; the next one tidies up.

    def _heed(self, name: str) -> None:
        wish = self._wish()
        if wish is Wish.DETACH:
            server = self._connection.server.name if self._connection else ""
            chosen = f"--server {server} " if server else ""
            raise Detached(
                f"{name} goes on without you.", next=f"manage.py remote {chosen}attach {name}"
            )
        self._to_cancel = wish is Wish.CANCEL

    def _cancel(self, name: str) -> None:
        """As `manage.py cancel` does it, to this one and no other."""
        done = self._link().run(["docker", "kill", "--signal", "TERM", name], seconds=ASK_SECONDS)
        self._to_cancel = False
        self._say(
            f"It could not be asked to stop: {done.errors.strip()}"
            if done.code
            else "Asked it to stop; this is how it ends:"
        )

    def _docker_says(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        if text not in self._heard:
            self._heard.add(text)
            self._say(text)

    def _docker(self, *arguments: str) -> str:
        done = self._link().run(["docker", *arguments], seconds=ASK_SECONDS)
        if done.code == 0:
            return done.output.strip()
        server = self._link().server
        if "no such" in done.errors.lower():
            raise Gone(
                f"On {server} there is no {arguments[-1]}: it was not started, or its end was "
                "seen already.",
                next="manage.py remote history   # how it ended, if it began",
            )
        raise DockerAway(
            f"On {server}, Docker does not answer.",
            output=done.errors.strip(),
            next="manage.py remote doctor",
        )

    def _link(self) -> Connection:
        """The link that is there, or a new one; only the first is given up at once."""
        if self._connection is None:
            self._connection = self._connect()
            return self._connection
        if self._connection.is_alive:
            return self._connection
        self._connection.close()
        pause, until = 0.5, monotonic() + AGAIN_SECONDS
        while True:
            try:
                self._connection = self._connect()
            except (LinkLost, NameNotFound, NotReached) as error:
                if monotonic() > until:
                    server = self._connection.server
                    raise RemoteFailed(
                        f"The link to {server} was lost, and for {AGAIN_SECONDS / 60:g} minutes "
                        f"there was no new one. {error.found}",
                        traffic="What was begun there goes on.",
                        next=f"manage.py remote --server {server.name} attach",
                    ) from error
                sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self._say("Connected again.")
                return self._connection
