"""Who are we? The agent's keys, key files with their passphrases, and last a password."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

import paramiko

from apps.ops.deadlines import within
from apps.ops.remote.asking import Ask
from apps.ops.remote.failures import LinkLost, LoginRefused
from apps.ops.remote.keys import (
    TRIES,
    AgentCertificate,
    certificates,
    held_by,
    is_accepted,
    load,
    plain,
    public_blob,
)
from apps.ops.remote.ssh_host import Host

LOGIN_SECONDS = 30.0
AGENT_SECONDS = 5.0
# OpenSSH's LoginGraceTime: longer than that the server does not wait for somebody who types.
TYPING_SECONDS = 120.0


def log_in(transport: paramiko.Transport, host: Host, user: str, *, ask: Ask) -> None:
    """Log in with the first key that is accepted.

    Raises:
        LoginRefused: none is, or the server hung up.
        LinkLost: the link was cut or fell silent meanwhile.
    """
    tried: list[str] = []
    offered, typed = 0, False
    asked: Sequence[str] = ()
    transport.auth_timeout = LOGIN_SECONDS
    try:
        allowed = asked = _allowed(transport, user)
        if "publickey" in host.methods & set(allowed):
            for label, key in _keys(host, ask, tried):
                tried.append(label)
                offered += 1
                try:
                    # With a second factor, what is left to do is what comes back.
                    allowed = transport.auth_publickey(user, key) or allowed
                except paramiko.AuthenticationException as error:
                    _hang_up_if_silent(transport, error)
                if transport.is_authenticated() or not transport.is_active():
                    break
        if transport.is_active() and not transport.is_authenticated():
            typed = _type(transport, host, user, allowed, ask)
    except (EOFError, OSError, paramiko.SSHException) as error:
        _hang_up_if_silent(transport, error)
        if transport.is_active():
            raise LoginRefused(
                f"The login as {user} at {host.address} failed: {error}", next=_next(host, user)
            ) from error
    if transport.is_authenticated():
        return
    if not transport.is_active():
        raise LinkLost(
            f"{host.address} hung up or fell silent before {user} was logged in: after too many "
            "keys, after too long, or because it is not for this user.",
            output=_listed(tried),
            next=_next(host, user),
        )
    if asked and not host.methods & set(asked):
        raise LoginRefused(
            f"{host.address} lets in {user} by {', '.join(asked)} only, and the configuration of "
            f"this machine leaves {', '.join(sorted(host.methods))}.",
            next=f"ssh -G {host.address} | grep -i authentication",
        )
    raise LoginRefused(
        f"{host.address} refuses the login as {user}: "
        + (f"of {offered} keys none is accepted" if offered else "there is no key to offer")
        + (", and what was typed was not right." if typed else "."),
        output=_listed(tried),
        next=_next(host, user),
    )


def _hang_up_if_silent(transport: paramiko.Transport, error: Exception) -> None:
    """No answer is no refusal: who was here before tries again."""
    if str(error).startswith("Authentication timeout"):  # paramiko has no class for it.
        transport.close()


def _allowed(transport: paramiko.Transport, user: str) -> Sequence[str]:
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return error.allowed_types
    return []


def _keys(host: Host, ask: Ask, notes: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Each key with where it is from: those the configuration names first, the agent's before
    files, because they ask for nothing; and each with its certificates, before it alone."""
    known = certificates(host)
    named = {blob for path in host.identities if (blob := public_blob(path))}
    named |= {one.key for one in known}
    accepted = host.algorithms.get("pubkeyacceptedalgorithms")

    def offers(key: paramiko.PKey, label: str) -> Iterator[tuple[str, paramiko.PKey]]:
        if not isinstance(key, AgentCertificate):
            for one in known:
                if one.key == key.asbytes() and is_accepted(one.blob.key_type, accepted):
                    key.public_blob = one.blob
                    yield f"{label} with {one.path}", key
            key.public_blob = None
        if is_accepted(key.get_name(), accepted):
            yield label, key
        else:
            notes.append(f"{label}: not offered: PubkeyAcceptedAlgorithms has no {key.get_name()}")

    agent = agent_keys(host, notes)
    first = [key for key in agent if plain(key) in named]
    rest = [] if host.only_identities else [key for key in agent if plain(key) not in named]
    for held in first + rest:
        yield from offers(held, f"{held.fingerprint} {held.comment or ''} (agent)")
    offered = {held.asbytes() for held in first + rest}
    for path in host.identities:
        if public_blob(path) in offered:
            continue
        if (loaded := load(path, ask, notes)) and loaded.asbytes() not in offered:
            yield from offers(loaded, f"{loaded.fingerprint} {path}")


def agent_keys(host: Host, notes: list[str] | None = None) -> Sequence[paramiko.AgentKey]:
    """What the agent holds; nothing where there is none, or it does not answer in time.

    Args:
        notes: gets a line about an agent that is configured and does not answer.
    """
    if host.agent == "none":
        return []
    try:
        # A forwarded agent can hang as its link does.
        return within(AGENT_SECONDS, lambda: held_by(host.agent))
    except (TimeoutError, OSError, paramiko.SSHException) as error:
        if host.agent and notes is not None:
            notes.append(f"IdentityAgent {host.agent}: {error or 'it does not answer'}")
        return []


def _type(
    transport: paramiko.Transport, host: Host, user: str, allowed: Sequence[str], ask: Ask
) -> bool:
    """Log in with what is typed, as often as ssh does; whether anything was."""
    transport.auth_timeout = TYPING_SECONDS
    for attempt in range(TRIES):
        try:
            ways = host.methods & set(allowed)
            if "password" in ways:
                typed = ask.secret(f"Password of {user}@{host.address}")
                if typed is None:
                    return attempt > 0
                left: Sequence[str] = transport.auth_password(user, typed, fallback=False)
            elif "keyboard-interactive" in ways:
                answered = _answer(transport, host, user, ask)
                if answered is None:
                    return attempt > 0
                left = answered
            else:
                return attempt > 0
            # With a second factor, what is left to do.
            allowed = left or allowed
        except paramiko.AuthenticationException as error:
            _hang_up_if_silent(transport, error)
        if transport.is_authenticated() or not transport.is_active():
            break
    return True


def _answer(transport: paramiko.Transport, host: Host, user: str, ask: Ask) -> Sequence[str] | None:
    """Answer what the server asks: a password, a code.

    paramiko wants the answers in a thread of its own, in which a Ctrl-C would leave a terminal that
    shows nothing of what is typed: they are asked for here.

    Returns:
        What is left to do; None when nobody answers.

    Raises:
        AuthenticationException: the answers were not right.
    """
    events: SimpleQueue[tuple[str, ...] | Sequence[str] | Exception] = SimpleQueue()
    answers: SimpleQueue[list[str]] = SimpleQueue()

    def questions(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if not prompts:
            return []
        events.put(tuple(text.strip().rstrip(":") for text, _ in prompts))
        return answers.get(timeout=TYPING_SECONDS)

    def work() -> None:
        try:
            events.put(list(transport.auth_interactive(user, questions)))
        except Exception as error:
            events.put(error)

    Thread(target=work, daemon=True, name="keyboard-interactive").start()
    while True:
        match events.get():
            case Exception() as error:
                raise error
            case tuple() as asked:
                typed = [ask.secret(f"{text} of {user}@{host.address}") for text in asked]
                if None in typed:
                    return None
                answers.put([text or "" for text in typed])
            case left:
                return left


def _listed(tried: Sequence[str]) -> str:
    return "\n".join(tried)


def _next(host: Host, user: str) -> str:
    port = "" if host.port == 22 else f" -p {host.port}"
    return f"ssh-copy-id{port} {user}@{host.address}   # or ssh-add, when your key has a passphrase"
