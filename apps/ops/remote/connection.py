"""A link to a server: commands, their output as it comes, and files. Dead ones are found out."""

from __future__ import annotations

import os
import select
import shlex
from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

import paramiko

from apps.ops.deadlines import within
from apps.ops.remote.asking import Ask, Say
from apps.ops.remote.failures import LinkLost, RemoteFailed, TookTooLong
from apps.ops.remote.reach import reach
from apps.ops.remote.servers import Server
from apps.ops.remote.ssh_config import look_up

# Together below 30: a dead link is found within that many seconds.
ASK_ALIVE_SECONDS = 8.0
ANSWER_SECONDS = 20.0
SESSION_SECONDS = 20.0
FILE_SECONDS = 30.0
LOOK_SECONDS = 0.2
CHUNK = 65536
MAX_OUTPUT = 10_000_000

Receive = Callable[[bytes], object]


class Size(NamedTuple):
    columns: int
    lines: int


class Completed(NamedTuple):
    """How a remote command ended: its exit code, and what it wrote."""

    code: int
    output: str
    errors: str


def connect(server: Server, *, ask: Ask, say: Say) -> Connection:
    """Log in, as the user's `~/.ssh/config`, agent and keys have it; the host key is verified.

    Raises:
        RemoteFailed: of the kind that says whether it was the name, TCP, the host key or the login.
    """
    host = look_up(server.host, user=server.user, port=server.port)
    return Connection(server, reach(host, ask=ask, say=say))


class Connection:
    """Commands can run side by side over it.

    Args:
        links: to the server, then what that goes through.

    Raises (every method):
        LinkLost: the link was cut, or nothing came over it for 28 s.
        RemoteFailed: the server opens no session.
    """

    def __init__(self, server: Server, links: Sequence[paramiko.Transport]) -> None:
        self.server = server
        self._links = links
        self._transport = links[0]
        self._heard = monotonic()
        self._closed = Event()
        Thread(target=self._watch, daemon=True, name="ssh-watch").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        return all(link.is_active() for link in self._links)

    def close(self) -> None:
        self._closed.set()
        for link in self._links:
            link.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float,
        stdin: bytes | None = None,
        say: Say | None = None,
    ) -> Completed:
        """Run a command to its end and keep what it writes, at most MAX_OUTPUT bytes of each.

        Args:
            argv: quoted word by word; no shell sees it otherwise than as it is.
            stdin: what the command reads; without it, nothing.
            say: called with each line of both outputs as it comes.

        Raises:
            TookTooLong: it has not ended by then.
        """
        kept = {"output": bytearray(), "errors": bytearray()}
        begun = {"output": b"", "errors": b""}

        def receiver(name: str) -> Receive:
            def receive(data: bytes) -> None:
                kept[name] += data[: MAX_OUTPUT - len(kept[name])]
                *lines, begun[name] = (begun[name] + data).split(b"\n")
                for line in lines:
                    if say:
                        say(line.decode(errors="replace").rstrip("\r"))

            return receive

        code = self.stream(
            argv,
            on_stdout=receiver("output"),
            on_stderr=receiver("errors"),
            stdin=stdin,
            seconds=seconds,
        )
        if say:
            for rest in filter(None, begun.values()):
                say(rest.decode(errors="replace"))
        return Completed(code, *(bytes(part).decode(errors="replace") for part in kept.values()))

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_stdout: Receive,
        on_stderr: Receive,
        tty: Callable[[], Size] | None = None,
        stdin: int | bytes | None = None,
        seconds: float | None = None,
        quiet_seconds: float | None = None,
    ) -> int:
        """Run a command to its end and hand on what it writes as it comes.

        Args:
            tty: give it a terminal of that size, which may change; all it writes is stdout then.
            stdin: a file descriptor to read from, or what the command reads; without it, nothing.
            seconds: its deadline; without one, a link that answers is waited for.
            quiet_seconds: its longest silence.

        Returns:
            Its exit code.

        Raises:
            TookTooLong: it has not ended by then, or was silent for longer than it may.
        """
        begun = heard = monotonic()
        channel = self._begin(argv, tty)
        try:
            talk = _Talk(channel, tty, stdin)
            while not talk.ended():
                now = monotonic()
                if seconds is not None and now - begun > seconds:
                    raise self._too_long(argv, f"has not ended within {seconds:g} s")
                if quiet_seconds is not None and now - heard > quiet_seconds:
                    raise self._too_long(argv, f"has said nothing for {quiet_seconds:g} s")
                if talk.once(on_stdout, on_stderr):
                    self._heard = heard = monotonic()
            return self._code(channel, argv)
        finally:
            channel.close()

    def sftp(self) -> paramiko.SFTPClient:
        """Files on the server; what takes longer than 30 s without a byte raises TimeoutError."""
        try:
            client = paramiko.SFTPClient.from_transport(self._transport)
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        assert client is not None
        channel = client.get_channel()
        assert channel is not None
        channel.settimeout(FILE_SECONDS)
        return client

    def _begin(self, argv: Sequence[str], tty: Callable[[], Size] | None) -> paramiko.Channel:
        try:
            channel = self._transport.open_session(timeout=SESSION_SECONDS)
            if tty:
                columns, lines = tty()
                channel.get_pty(os.environ.get("TERM", "xterm"), columns, lines)
            channel.exec_command(shlex.join(argv))
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        return channel

    def _code(self, channel: paramiko.Channel, argv: Sequence[str]) -> int:
        if channel.status_event.is_set() and channel.exit_status >= 0:
            return channel.exit_status
        self._transport.join(1.0)
        if not self._transport.is_active():
            raise self._lost(None)
        raise RemoteFailed(
            f"On {self.server}: `{_short(argv)}` was ended by a signal.",
            next=self.server.command("doctor"),
        )

    def _too_long(self, argv: Sequence[str], how: str) -> TookTooLong:
        return TookTooLong(
            f"On {self.server}: `{_short(argv)}` {how}.", next=self.server.command("doctor")
        )

    def _lost(self, error: Exception | None) -> RemoteFailed:
        if str(error).startswith("Timeout"):  # paramiko has no class for it.
            self._transport.close()
        # The link's end is told to its channels before anybody sees that it has ended.
        self._transport.join(1.0)
        if self._transport.is_active():
            return RemoteFailed(
                f"{self.server} opens no session: {error}",
                next="Look at MaxSessions and the log of sshd on the server.",
            )
        return LinkLost(
            f"The link to {self.server} is lost.",
            next=f"{self.server.command('status')}   # once you are connected",
        )

    def _watch(self) -> None:
        """Ask for an answer whenever it has been quiet; close the link when none comes.

        paramiko's own keep-alive asks for none, so that only the kernel notices, after minutes.
        """
        while self._transport.is_active():
            if (left := self._heard + ASK_ALIVE_SECONDS - monotonic()) > 0:
                if self._closed.wait(left):
                    return
                continue
            asked = monotonic()
            try:
                within(
                    ANSWER_SECONDS,
                    lambda: self._transport.global_request("keepalive@openssh.com", wait=True),
                    stop=self._closed,
                )
                self._heard = monotonic()
            except TimeoutError:
                if self._heard < asked:
                    self._transport.close()
            except (EOFError, OSError, paramiko.SSHException):
                self._transport.close()


class _Talk:
    """What goes to and comes from one command."""

    def __init__(
        self,
        channel: paramiko.Channel,
        tty: Callable[[], Size] | None,
        stdin: int | bytes | None,
    ) -> None:
        self._channel = channel
        self._tty = tty
        self._size = tty() if tty else None
        self._source = stdin if isinstance(stdin, int) else None
        self._waiting = stdin if isinstance(stdin, bytes) else b""
        self._said_all = False
        channel.settimeout(SESSION_SECONDS)

    def ended(self) -> bool:
        channel = self._channel
        # In this order: what came before the end was ready then.
        is_over = bool(channel.closed or (channel.eof_received and channel.status_event.is_set()))
        return is_over and not (channel.recv_ready() or channel.recv_stderr_ready())

    def once(self, on_stdout: Receive, on_stderr: Receive) -> bool:
        """Wait a moment, and hand on what there is; whether anything came."""
        self._wait()
        self._send()
        self._resize()
        came = False
        while self._channel.recv_ready():
            on_stdout(self._channel.recv(CHUNK))
            came = True
        while self._channel.recv_stderr_ready():
            on_stderr(self._channel.recv_stderr(CHUNK))
            came = True
        return came

    def _wait(self) -> None:
        if self._channel.eof_received:
            # Then it always counts as readable, and only the exit code is missing.
            self._channel.status_event.wait(LOOK_SECONDS)
            return
        reading = [self._channel.fileno()]
        if self._source is not None and not self._waiting:
            reading.append(self._source)
        can_send = self._waiting and self._channel.send_ready()
        ready, _, _ = select.select(reading, [], [], 0 if can_send else LOOK_SECONDS)
        if self._source in ready:
            self._waiting = os.read(self._source, CHUNK)
            if not self._waiting:
                self._source = None

    def _send(self) -> None:
        try:
            if self._waiting and self._channel.send_ready():
                self._waiting = self._waiting[self._channel.send(self._waiting) :]
            if not (self._waiting or self._said_all or self._source is not None):
                self._said_all = True
                if not self._tty:
                    self._channel.shutdown_write()
        except OSError:
            # It reads no more; how it ends is asked elsewhere.
            self._waiting, self._source, self._said_all = b"", None, True

    def _resize(self) -> None:
        if self._tty and (size := self._tty()) != self._size:
            self._size = size
            self._channel.resize_pty(*size)


def _short(argv: Sequence[str]) -> str:
    words = shlex.join(argv)
    return words if len(words) <= 100 else f"{words[:99]}…"
