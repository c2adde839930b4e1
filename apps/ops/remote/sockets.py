"""The first hop: a TCP connection, or what a ProxyCommand leads to."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

from apps.ops.deadlines import within
from apps.ops.remote.failures import NameNotFound, NotReached, RemoteFailed
from apps.ops.remote.ssh_host import Host

NAME_SECONDS = 10.0
CONNECT_SECONDS = 10.0
END_SECONDS = 1.0


class Program(socket.socket):
    """A ProxyCommand, whose input and output are the other end of this socket.

    What it says on standard error is for whoever sits here: it may be a login.
    """

    def __init__(self, command: str) -> None:
        near, far = socket.socketpair()
        super().__init__(near.family, near.type, near.proto, fileno=near.detach())
        self._process: subprocess.Popen[bytes] | None = None
        with far:
            shell = os.environ.get("SHELL") or "/bin/sh"
            argv = [shell, "-c", f"exec {command}"]
            try:
                self._process = subprocess.Popen(argv, stdin=far.fileno(), stdout=far.fileno())
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        super().close()
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_program(command: str) -> Program:
    if not hasattr(os, "fork"):
        raise RemoteFailed(
            f"ProxyCommand `{command}` cannot be a link on this system.",
            next="ProxyJump says the same without a program, in ~/.ssh/config.",
        )
    try:
        return Program(command)
    except (OSError, ValueError) as error:
        raise NotReached(
            f"ProxyCommand `{command}` could not be started: {error}", next="Look at ~/.ssh/config."
        ) from error


def dial(host: Host) -> socket.socket:
    """Connect to the host's first address that answers.

    Raises:
        NameNotFound, NotReached: at which point of the way it was.
    """
    seconds = host.connect_seconds or CONNECT_SECONDS
    found = _addresses(host)
    last: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(seconds)
            if host.bind_address:
                own = socket.getaddrinfo(host.bind_address, 0, family, kind)
                sock.bind(own[0][4])
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    come_from = f" from {host.bind_address}" if host.bind_address else ""
    raise NotReached(
        f"TCP: {host.address} port {host.port}{come_from}: {_why_not(last, seconds)}",
        next=f"nc -vz {host.address} {host.port}   # and the server's firewall, and its sshd",
    ) from last


def _addresses(host: Host) -> Sequence[tuple[Any, ...]]:
    try:
        return within(
            NAME_SECONDS,
            lambda: socket.getaddrinfo(
                host.address, host.port, host.family, type=socket.SOCK_STREAM
            ),
        )
    except (TimeoutError, OSError, UnicodeError) as error:
        found_out = "DNS does not answer" if isinstance(error, TimeoutError) else str(error)
        kind = {socket.AF_INET: " over IPv4", socket.AF_INET6: " over IPv6"}
        raise NameNotFound(
            f"DNS: the name {host.address} leads nowhere"
            f"{kind.get(socket.AddressFamily(host.family), '')}: {found_out}.",
            next=f"getent hosts {host.address}   # and the host's name in OPS_SERVERS",
        ) from error


def _why_not(error: OSError | None, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s: it is down, or a firewall drops what we send."
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nothing listens there."
    return f"{error}."
