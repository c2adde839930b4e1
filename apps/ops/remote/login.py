"""Who are we? The agent's keys, key files with their passphrases, and last a password."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import paramiko
from paramiko.pkey import UnknownKeyType

from apps.ops.deadlines import within
from apps.ops.remote.asking import Ask
from apps.ops.remote.failures import LinkLost, LoginRefused
from apps.ops.remote.ssh_config import Host

LOGIN_SECONDS = 30.0
AGENT_SECONDS = 5.0
# OpenSSH's LoginGraceTime: longer than that the server does not wait for somebody who types.
TYPING_SECONDS = 120.0
TRIES = 3


def log_in(transport: paramiko.Transport, host: Host, user: str, *, ask: Ask) -> None:
    """Log in with the first key that is accepted.

    Raises:
        LoginRefused: none is, or the server hung up.
        LinkLost: the link was cut or fell silent meanwhile.
    """
    tried: list[str] = []
    offered, typed = 0, False
    transport.auth_timeout = LOGIN_SECONDS
    try:
        allowed = _allowed(transport, user)
        if "publickey" in allowed:
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
    files, because they ask for nothing."""
    files = [path for path in host.identities if path.is_file() and path.suffix != ".pub"]
    named = {blob for path in host.identities if (blob := _public(path))}
    agent = agent_keys(host)
    first = [key for key in agent if key.asbytes() in named]
    rest = [] if host.only_identities else [key for key in agent if key.asbytes() not in named]
    for key in first + rest:
        yield f"{key.fingerprint} {key.comment or ''} (agent)", key
    offered = {key.asbytes() for key in agent}
    for path in files:
        if _public(path) in offered and not (host.only_identities and _public(path) not in named):
            continue
        if (loaded := _load(path, ask, notes)) and loaded.asbytes() not in offered:
            yield f"{loaded.fingerprint} {path}", loaded


def agent_keys(host: Host) -> Sequence[paramiko.AgentKey]:
    """What the agent holds; nothing where there is none, or it does not answer in time."""
    if host.agent == "none":
        return []
    try:
        # A forwarded agent can hang as its link does.
        return within(AGENT_SECONDS, lambda: paramiko.Agent().get_keys())
    except (TimeoutError, OSError, paramiko.SSHException):
        return []


def _public(path: Path) -> bytes:
    """The public half beside a private key, or the file itself, where only the agent has the other;
    empty when there is none."""
    try:
        beside = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
        text = beside.read_text(errors="replace")
        return b64decode(text.split()[1])
    except (OSError, ValueError, IndexError):
        return b""


def _load(path: Path, ask: Ask, notes: list[str]) -> paramiko.PKey | None:
    passphrase: bytes | None = None
    for left in range(TRIES, -1, -1):
        try:
            # What is annotated as text is handed to a function that takes bytes only.
            return paramiko.PKey.from_path(path, passphrase)  # type: ignore[arg-type]
        except TypeError:  # It has a passphrase and was given none.
            found = "it has a passphrase"
        except (OSError, paramiko.SSHException, UnknownKeyType) as error:
            notes.append(f"{path}: not read: {error} (ssh-keygen -p -f {path} writes it anew)")
            return None
        except ValueError as error:
            if passphrase is None:
                notes.append(f"{path}: not a private key that can be read: {error}")
                return None
            found = "the passphrase is not right"
        typed = ask.secret(f"Passphrase of {path}") if left else None
        if typed is None:
            break
        passphrase = typed.encode()
    notes.append(f"{path}: not offered: {found}")
    return None


def _type(
    transport: paramiko.Transport, host: Host, user: str, allowed: Sequence[str], ask: Ask
) -> bool:
    """Log in with what is typed, as often as ssh does; whether anything was."""
    transport.auth_timeout = TYPING_SECONDS
    for attempt in range(TRIES):
        try:
            if "password" in allowed:
                typed = ask.secret(f"Password of {user}@{host.address}")
                if typed is None:
                    return attempt > 0
                left: Sequence[str] = transport.auth_password(user, typed, fallback=False)
            elif "keyboard-interactive" in allowed:
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
