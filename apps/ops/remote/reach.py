"""The way to a server: its name, its port, the hosts in between, its host key, the login."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from apps.ops.deadlines import within
from apps.ops.remote import host_keys
from apps.ops.remote.asking import Ask, Say
from apps.ops.remote.failures import LinkLost, LoginRefused, NameNotFound, NotReached, RemoteFailed
from apps.ops.remote.login import log_in
from apps.ops.remote.ssh_config import Host, look_up

NAME_SECONDS = 10.0
CONNECT_SECONDS = 10.0
HANDSHAKE_SECONDS = 20.0
MAX_JUMPS = 8


def reach(host: Host, *, ask: Ask, say: Say, depth: int = 0) -> Sequence[paramiko.Transport]:
    """Log in at a host.

    Returns:
        The links, the one to the host itself first, then those it goes through.

    Raises:
        RemoteFailed: of the kind that says where on the way it was.
    """
    # Its log has tracebacks for what is told here in sentences.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    if depth > MAX_JUMPS:
        raise RemoteFailed(
            f"More than {MAX_JUMPS} hosts are in between: a ProxyJump leads back to itself.",
            next=f"ssh -G {host.address} | grep proxyjump",
        )
    links: Sequence[paramiko.Transport] = ()
    if host.proxy_command:
        sock = _program(host.proxy_command)
    elif host.jumps:
        *before, last = host.jumps
        via = _jump(last)
        links = reach(
            replace(via, jumps=before) if before else via, ask=ask, say=say, depth=depth + 1
        )
        sock = _through(links[0], via, host)
    else:
        sock = _dial(host)
    try:
        return [_speak(sock, host, ask=ask, say=say), *links]
    except BaseException:
        for link in links:
            link.close()
        raise


def _jump(text: str) -> Host:
    user, _, rest = text.removeprefix("ssh://").rpartition("@")
    name, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    return look_up(name.strip("[]"), user=user or None, port=int(port) if port else None)


def _dial(host: Host) -> socket.socket:
    try:
        found = within(
            NAME_SECONDS,
            lambda: socket.getaddrinfo(host.address, host.port, type=socket.SOCK_STREAM),
        )
    except (TimeoutError, OSError, UnicodeError) as error:
        found_out = "DNS does not answer" if isinstance(error, TimeoutError) else str(error)
        raise NameNotFound(
            f"DNS: the name {host.address} leads nowhere: {found_out}.",
            next=f"getent hosts {host.address}   # and the host's name in OPS_SERVERS",
        ) from error
    last: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise NotReached(
        f"TCP: {host.address} port {host.port}: {_why_not(last)}",
        next=f"nc -vz {host.address} {host.port}   # and the server's firewall, and its sshd",
    ) from last


def _why_not(error: OSError | None) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"no answer within {CONNECT_SECONDS:g} s: it is down, or a firewall drops what we send."
        )
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nothing listens there."
    return f"{error}."


def _program(command: str) -> Any:
    try:
        return paramiko.ProxyCommand(command)
    except (OSError, ValueError) as error:
        raise NotReached(
            f"ProxyCommand `{command}` could not be started: {error}", next="Look at ~/.ssh/config."
        ) from error


def _through(link: paramiko.Transport, via: Host, host: Host) -> paramiko.Channel:
    try:
        return link.open_channel(
            "direct-tcpip",
            (host.address, host.port),
            ("127.0.0.1", 0),
            timeout=CONNECT_SECONDS,
        )
    except (EOFError, OSError, paramiko.SSHException) as error:
        raise NotReached(
            f"TCP: {via.address} does not get through to {host.address} port {host.port}: {error}",
            next=f"ssh {via.address} nc -vz {host.address} {host.port}",
        ) from error


def _own_name(host: Host) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise LoginRefused(
            f"Nothing says as whom to log in at {host.address}, and this process has no name.",
            next="Name the user in OPS_SERVERS: NAME=USER@HOST/DIRECTORY",
        ) from error


def _speak(sock: Any, host: Host, *, ask: Ask, say: Say) -> paramiko.Transport:
    files = [*host.known_hosts, *host_keys.SYSTEM_FILES]
    known = host_keys.known_keys(host.key_name, files)
    transport = paramiko.Transport(sock)
    # The process may end while a link hangs.
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = HANDSHAKE_SECONDS
    transport.channel_timeout = HANDSHAKE_SECONDS
    options = transport.get_security_options()
    options.key_types = tuple(host_keys.preferred_types(known, options.key_types))
    try:
        try:
            transport.start_client(timeout=HANDSHAKE_SECONDS)
            key = transport.get_remote_server_key()
        except IncompatiblePeer as error:
            raise NotReached(
                f"SSH: {host.address} and paramiko {paramiko.__version__} have no method in "
                f"common: {error} SHA-1, which old servers need, was given up.",
                next="Update openssh-server on the server.",
            ) from error
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise NotReached(
                f"SSH: {host.address} port {host.port} is open, and what is there does not begin "
                f"to speak SSH: {error or 'it hung up'}.",
                next=f"nc {host.address} {host.port}   # an sshd says SSH-2.0-… at once; "
                "'Not allowed at this time' it says after failed logins: then wait some minutes",
            ) from error
        host_keys.verify(host.key_name, key, known, add_to=host.known_hosts[0], ask=ask, say=say)
        if not transport.is_active():
            raise LinkLost(
                f"{host.address} did not wait so long for the answer and hung up.",
                next="The same again.",
            )
        log_in(transport, host, host.user or _own_name(host), ask=ask)
    except BaseException:
        transport.close()
        raise
    return transport
