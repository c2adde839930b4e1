"""What `ssh -G` prints, as something to connect by."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from apps.ops.remote.limits import ignored, impossible
from apps.ops.remote.openssh import Answers
from apps.ops.remote.ssh_host import METHODS, SYSTEM_KNOWN_HOSTS, Host, Jump
from apps.ops.remote.tokens import expand, own_name, tokens

_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
# As ssh -G prints it.
_UNKNOWN_KEYS = {"true": "yes", "false": "no", "off": "no"}
_SWITCHES = {
    "pubkeyauthentication": "publickey",
    "passwordauthentication": "password",
    "kbdinteractiveauthentication": "keyboard-interactive",
    "challengeresponseauthentication": "keyboard-interactive",  # Before OpenSSH 8.7.
}
# By today's keyword, and the one of before OpenSSH 8.5.
_ALGORITHMS = {
    "kexalgorithms": "kexalgorithms",
    "ciphers": "ciphers",
    "macs": "macs",
    "hostkeyalgorithms": "hostkeyalgorithms",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "pubkeyacceptedalgorithms": "pubkeyacceptedalgorithms",
}
# Several names are printed without quotes: where a whole name begins, another file does.
_NEXT_FILE = re.compile(r"\s+(?=[/~%$]|[A-Za-z]:|none$)")


def host_of(name: str, answers: Answers) -> Host:
    """How to reach the host that was asked for by that name.

    Raises:
        ValueError: a value cannot be understood, or has a token that stands for nothing.
    """
    user = _one(answers, "user")
    address = (_one(answers, "hostname") or name).lower()
    port = int(_one(answers, "port") or 22)
    if not 0 < port < 65536:
        raise ValueError(f"there is no port {port}")
    alias = _one(answers, "hostkeyalias")
    jumps = [jump.strip() for jump in (_one(answers, "proxyjump") or "").split(",") if jump.strip()]
    known = tokens(
        name=name,
        address=address,
        port=port,
        user=user or own_name(),
        alias=alias,
        jump=Jump.of(jumps[-1]).name if jumps else "",
    )
    of_link = {letter: known[letter] for letter in "%hknpr"}
    command = _one(answers, "proxycommand")
    seconds = _one(answers, "connecttimeout")
    checking = (_one(answers, "stricthostkeychecking") or "ask").lower()
    methods = _methods(answers)
    algorithms = _algorithms(answers)
    ssh = Path.home() / ".ssh"
    return Host(
        user=user,
        address=address,
        port=port,
        key_name=(alias or (address if port == 22 else f"[{address}]:{port}")).lower(),
        identities=_paths(
            answers.get("identityfile", [str(ssh / key) for key in _DEFAULT_KEYS]), known
        ),
        only_identities=_is_yes(answers, "identitiesonly"),
        agent=_agent(answers, known),
        jumps=[expand(jump, of_link, environment=False) for jump in jumps],
        proxy_command=expand(command, of_link, environment=False) if command else None,
        known_hosts=_files(
            answers, "userknownhostsfile", (ssh / "known_hosts", ssh / "known_hosts2"), known
        ),
        system_known_hosts=_files(answers, "globalknownhostsfile", SYSTEM_KNOWN_HOSTS, known),
        certificates=_paths(answers.get("certificatefile", []), known),
        unknown_keys=_UNKNOWN_KEYS.get(checking, checking),
        methods=methods,
        may_ask=not _is_yes(answers, "batchmode"),
        family=_FAMILIES.get((_one(answers, "addressfamily") or "").lower(), 0),
        bind_address=_one(answers, "bindaddress"),
        connect_seconds=float(seconds) if seconds else None,
        algorithms=algorithms,
        ignored=ignored(answers),
        impossible=impossible(answers, methods, algorithms),
    )


def _one(answers: Answers, key: str) -> str | None:
    value = answers[key][0] if answers.get(key) else "none"
    return None if value.lower() == "none" else value


def _is_yes(answers: Answers, key: str) -> bool:
    return (_one(answers, key) or "no").lower() in ("yes", "true")


def _paths(names: Sequence[str], known: Mapping[str, str]) -> Sequence[Path]:
    return [Path(expand(name, known)).expanduser() for name in names if name.lower() != "none"]


def _files(
    answers: Answers, key: str, default: Sequence[Path], known: Mapping[str, str]
) -> Sequence[Path]:
    if key not in answers:
        return default
    return _paths([name for value in answers[key] for name in _NEXT_FILE.split(value)], known)


def _agent(answers: Answers, known: Mapping[str, str]) -> str | None:
    """As `Host.agent` has it. `$NAME` is a name of the environment that has the socket's."""
    text = answers.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    if text == "SSH_AUTH_SOCK":
        return None
    if text.lower() == "none":
        return "none"
    if text.startswith("$") and not text.startswith("${"):
        return expand(f"${{{text[1:]}}}", known)
    return str(Path(expand(text, known)).expanduser())


def _methods(answers: Answers) -> frozenset[str]:
    off = {
        method
        for key, method in _SWITCHES.items()
        if (_one(answers, key) or "yes").lower() in ("no", "false")
    }
    preferred = _one(answers, "preferredauthentications")
    left = METHODS & set(preferred.split(",")) if preferred else METHODS
    return frozenset(left - off)


def _algorithms(answers: Answers) -> Mapping[str, Sequence[str]]:
    return {
        name: value.split(",")
        for key, name in _ALGORITHMS.items()
        # One that begins so changes a list of OpenSSH's, which is not known without OpenSSH.
        if (value := _one(answers, key)) and value[0] not in "+-^"
    }
