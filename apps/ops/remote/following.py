"""A command that goes on when nobody is connected: started on the server, followed from here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from time import monotonic, sleep

from apps.ops.errors import OpsError
from apps.ops.remote import commands
from apps.ops.remote.asking import Say
from apps.ops.remote.commands import LABEL, NOT_STARTED, Words
from apps.ops.remote.connection import Connection
from apps.ops.remote.failures import (
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    RemoteFailed,
    TookTooLong,
)
from apps.ops.remote.log_stream import LogStream, Show
from apps.ops.remote.servers import Server

START_SECONDS = 180.0
ASK_SECONDS = 30.0
SLACK_SECONDS = 10.0
# A start that the link was lost in may take as long as one that it was not.
APPEAR_SECONDS = START_SECONDS
LOOK_SECONDS = 0.5
# Docker can fall silent over a log whose container has ended: so it is asked now and then. What
# follows the log is ended on the server: a channel that is closed here leaves its session there, of
# which sshd has ten.
FOLLOW_SECONDS = 300.0
QUIET_SECONDS = FOLLOW_SECONDS + 30.0
READS = 3
# A laptop that slept, a train in a tunnel.
AGAIN_SECONDS = 900.0
FIRST_PAUSE_SECONDS = 0.2
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


class NeverStarted(RemoteFailed):
    """The container is there, and nothing runs or ran in it."""


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
        self,
        server: Server,
        link: Callable[[], Connection],
        *,
        say: Say,
        wish: Callable[[], Wish],
    ) -> None:
        self._server = server
        self._connect = link
        self._connection: Connection | None = None
        self._say = say
        self._wish = wish
        self._to_cancel = False
        self._heard: set[str] = set()
        self._is_lost = False
        self._progress()

    def connect(self) -> None:
        """Log in, if that has not been done yet.

        Raises:
            RemoteFailed: it cannot be reached.
        """
        self._link()

    def start(self, argv: Sequence[str], name: str) -> None:
        """Start a container. When the link is lost meanwhile, it is there or not; `follow` says.

        Raises:
            RemoteFailed: it cannot be reached, or it does not start.
        """
        connection = self._link()
        try:
            done = connection.run(argv, seconds=START_SECONDS)
        except LinkLost:
            self._say("The link is lost; what was to be started may run. Connecting again …")
            self._is_lost = True
            return
        except TookTooLong as error:
            self._say(f"{error.found} It may have been started all the same: asking …")
            return
        except KeyboardInterrupt:
            self._heed(name)  # It starts all the same.
            return
        if done.code:
            # Compose leaves what it made and could not start.
            with suppress(RemoteFailed):
                connection.run(["docker", "rm", name], seconds=ASK_SECONDS)
            why = NOT_STARTED.get(done.code, f"exit code {done.code}")
            raise RemoteFailed(
                f"On {self._server}, in {self._server.directory}, it could not be started: {why}.",
                output=(done.output + done.errors).strip(),
                traffic="Nothing was begun; traffic is as it was.",
                next=self._server.command("doctor"),
            )

    def newest(self) -> str:
        """The name of what was started last and is still there.

        Raises:
            Gone: nothing is.
        """
        asked = ["ps", "--all", "--format", "{{.Names}}"]
        asked += ["--filter", f"label={LABEL}={self._server.directory}"]
        done = self._over_links("attach", lambda: self._docker(*asked))
        if not done:
            raise Gone(
                f"On {self._server} there is nothing to follow: nothing was started from "
                "here, or its end was seen already.",
                next=self._server.command("history"),
            )
        return done.split()[0]

    def words(self, name: str) -> Words:
        """What was started.

        Raises:
            Gone: there is no such container.
        """
        return self._over_links(name, lambda: self.state(name)).words

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
            NeverStarted: there is one, and nothing runs in it.
            RemoteFailed: the server could not be reached again.
        """
        streams = (
            LogStream(self._getting_on(on_stdout), self._docker_says),
            LogStream(self._getting_on(on_stderr), self._docker_says),
        )
        is_there, reads = False, 0
        while True:
            try:
                self._rest()
                state = self._appeared(name, is_there=is_there)
                is_there = True
                self._answers()
                if self._to_cancel and not state.ended:
                    self._cancel(name)
                begun = monotonic()
                whole = self._read(name, streams, follow=not state.ended)
                self._progress()
                if state.ended:
                    reads += 1
                    if whole:
                        self._tidy(name)
                        return state.exit_code
                    if reads == READS:
                        self._say(f"Docker keeps the rest of its output: docker logs {name}")
                        return state.exit_code
                if monotonic() - begun < LOOK_SECONDS:
                    sleep(LOOK_SECONDS)  # Docker has no log of it to follow.
            except (Gone, NeverStarted, DockerAway):
                raise
            except RemoteFailed as error:
                self._lost(error, name)
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
            except (DockerAway, Gone) as error:
                if monotonic() > by or (is_there and isinstance(error, Gone)):
                    raise
            else:
                if state.status != "created":
                    return state
                # Without force: one that does run after all stays, and is followed.
                if monotonic() > by and self._remove(name):
                    raise NeverStarted(
                        f"On {self._server}, {name} was made and never started.",
                        traffic="Nothing was begun; traffic is as it was.",
                        next=self._server.command("doctor"),
                    )
            sleep(LOOK_SECONDS)

    def _remove(self, name: str) -> bool:
        return self._link().run(["docker", "rm", name], seconds=ASK_SECONDS).code == 0

    def _read(self, name: str, streams: Sequence[LogStream], *, follow: bool) -> bool:
        """Hand on what the log has; whether that was all that it has by now."""
        begin = [stream.since for stream in streams]
        argv = ["timeout", f"{FOLLOW_SECONDS:g}"] if follow else []
        argv += ["docker", "logs", "--timestamps", *(["--follow"] if follow else [])]
        # A stream that never said anything may have said something just then.
        argv += ["--since", min(begin)] if all(begin) else []
        for stream in streams:
            stream.begin()
        out, err = streams
        try:
            code = self._link().stream(
                [*argv, name],
                on_stdout=out.feed,
                on_stderr=err.feed,
                quiet_seconds=QUIET_SECONDS,
            )
        except TookTooLong:
            return False
        if code == 0:
            for stream in streams:
                stream.end()
        return code == 0

    def _tidy(self, name: str) -> None:
        try:
            self._remove(name)
            self._link().run(
                ["docker", "container", "prune", "--force", "--filter", f"label={LABEL}"]
                + ["--filter", f"until={KEEP_ENDED}"],
                seconds=ASK_SECONDS,
            )
        except (RemoteFailed, KeyboardInterrupt):
            return  # How it ended is known; the next one tidies up.

    def _heed(self, name: str) -> None:
        wish = self._wish()
        if wish is Wish.DETACH:
            raise Detached(
                f"{name} goes on without you.", next=self._server.command(f"attach {name}")
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
        asking = ["timeout", f"{ASK_SECONDS:g}", "docker", *arguments]
        done = self._link().run(asking, seconds=ASK_SECONDS + SLACK_SECONDS)
        if done.code == 0:
            return done.output.strip()
        # Not "no such file": that is Docker's socket.
        if re.search("no such (container|object)", done.errors, re.IGNORECASE):
            raise Gone(
                f"On {self._server} there is no {arguments[-1]}: it was not started, or its end "
                "was seen already.",
                next=f"{self._server.command('history')}   # how it ended, if it began",
            )
        raise DockerAway(
            f"On {self._server}, Docker does not answer.",
            output=done.errors.strip(),
            traffic="What was begun there goes on, unless it ended with Docker.",
            next=self._server.command("doctor"),
        )

    def _link(self) -> Connection:
        """The link that is there, or a new one."""
        if self._connection is None:
            self._connection = self._connect()
        elif not self._connection.is_alive:
            self._connection.close()
            self._connection = self._connect()
        return self._connection

    def _getting_on(self, show: Show) -> Show:
        def show_and_note(line: bytes) -> None:
            self._progress()
            show(line)

        return show_and_note

    def _over_links[T](self, name: str, ask: Callable[[], T]) -> T:
        """Ask again when the link is lost meanwhile; that none is to be had is said at once."""
        while True:
            try:
                self._rest()
                answer = ask()
            except LinkLost as error:
                self._lost(error, name)
            else:
                self._answers()
                return answer

    def _answers(self) -> None:
        if self._is_lost:
            self._say("Connected again.")
        self._is_lost = False

    def _progress(self) -> None:
        """What goes wrong from here on is counted anew."""
        self._pause = FIRST_PAUSE_SECONDS
        self._until = monotonic() + AGAIN_SECONDS

    def _lost(self, error: RemoteFailed, name: str) -> None:
        """Note that it is to be tried again; raise when that is no use."""
        is_refused = isinstance(error, HostKeyRefused | LoginRefused)
        if is_refused or monotonic() > self._until:
            for_long = "" if is_refused else f", and for {AGAIN_SECONDS / 60:g} minutes not found"
            error.found = f"The link to {self._server} was lost{for_long}. {error.found}"
            error.traffic = "What was begun there goes on."
            error.next = f"{self._server.command(f'attach {name}')}   # first: {error.next}"
            raise error
        if not self._is_lost:
            lost = not (self._connection and self._connection.is_alive)
            what = "The link is lost;" if lost else f"{error.found} All the same,"
            self._say(f"{what} what runs there goes on. Connecting again …")
        self._is_lost = True

    def _rest(self) -> None:
        """Between one try and the next."""
        if self._is_lost:
            sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
