"""The way to a server: its name, its port, the hosts in between, its host key, the login."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Sequence
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from apps.ops.remote import host_keys
from apps.ops.remote.asking import Ask, Nobody, Say
from apps.ops.remote.failures import LinkLost, LoginRefused, NotReached, RemoteFailed
from apps.ops.remote.login import log_in
from apps.ops.remote.sockets import CONNECT_SECONDS, dial, run_program
from apps.ops.remote.ssh_config import look_up
from apps.ops.remote.ssh_host import Host, Jump

HANDSHAKE_SECONDS = 20.0
MAX_JUMPS = 8
# How a signature of such a key may be made.
RSA = ("rsa-sha2-512", "rsa-sha2-256")


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
    if host.impossible:
        raise RemoteFailed(
            f"{host.impossible} Nothing was sent to {host.address}.",
            next=f"ssh -G {host.address}   # says what is configured; change it in ~/.ssh/config",
        )
    for sentence in host.ignored:
        say(sentence)
    ask = ask if host.may_ask else Nobody()
    links: Sequence[paramiko.Transport] = ()
    sock: Any
    if host.proxy_command:
        sock = run_program(host.proxy_command)
    elif host.jumps:
        *before, last = host.jumps
        jump = Jump.of(last)
        via = look_up(jump.name, user=jump.user, port=jump.port, jumps=before)
        links = reach(via, ask=ask, say=say, depth=depth + 1)
        sock = _through(links[0], via, host)
    else:
        sock = dial(host)
    try:
        return [_speak(sock, host, ask=ask, say=say), *links]
    except BaseException:
        for link in links:
            link.close()
        raise


def _through(link: paramiko.Transport, via: Host, host: Host) -> paramiko.Channel:
    try:
        return link.open_channel(
            "direct-tcpip",
            (host.address, host.port),
            ("127.0.0.1", 0),
            timeout=host.connect_seconds or CONNECT_SECONDS,
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
    files = [*host.known_hosts, *host.system_known_hosts]
    known = host_keys.known_keys(host.key_name, files)
    accepted = host.algorithms.get("pubkeyacceptedalgorithms", RSA)
    transport = paramiko.Transport(
        sock, disabled_algorithms={"pubkeys": [name for name in RSA if name not in accepted]}
    )
    # The process may end while a link hangs.
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = HANDSHAKE_SECONDS
    transport.channel_timeout = HANDSHAKE_SECONDS
    _choose_algorithms(transport, host, known)
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
            if host.proxy_command:
                raise NotReached(
                    f"SSH: what ProxyCommand `{host.proxy_command}` leads to does not begin to "
                    f"speak SSH: {str(error) or 'it hung up'}.",
                    next=f"ssh -v {host.address}   # runs it, too; what it says stands above",
                ) from error
            raise NotReached(
                f"SSH: {host.address} port {host.port} is open, and what is there does not begin "
                f"to speak SSH: {str(error) or 'it hung up'}.",
                next=f"nc {host.address} {host.port}   # an sshd says SSH-2.0-… at once; "
                "'Not allowed at this time' it says after failed logins: then wait some minutes",
            ) from error
        host_keys.verify(host, key, known, ask=ask, say=say)
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


def _choose_algorithms(
    transport: paramiko.Transport, host: Host, known: Sequence[host_keys.Known]
) -> None:
    """Those of the configuration that paramiko has, in the configuration's order."""
    options = transport.get_security_options()

    def chosen(keyword: str, ours: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in host.algorithms.get(keyword, ours) if name in ours)

    options.kex = chosen("kexalgorithms", options.kex)
    options.ciphers = chosen("ciphers", options.ciphers)
    options.digests = chosen("macs", options.digests)
    kinds = chosen("hostkeyalgorithms", options.key_types)
    options.key_types = tuple(host_keys.preferred_types(known, kinds))
