"""What OpenSSH itself makes of its configuration: `ssh -G` prints what holds for a host."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from apps.ops.processes import ProgramFailed, run
from apps.ops.remote.config_lines import user_config
from apps.ops.remote.failures import RemoteFailed
from apps.ops.remote.other_home import listed_home, seen_from_here

# By keyword, in small letters, each of its lines.
Answers = Mapping[str, Sequence[str]]

# Match exec runs programs, CanonicalizeHostname asks DNS.
ASK_SECONDS = 20.0
# Another program of that name, one from before 6.8, or a user who is on no list.
_CANNOT_SAY = re.compile(
    r"(unknown|illegal|invalid|unrecogni[sz]ed) option -|^usage:|No user exists",
    re.IGNORECASE | re.MULTILINE,
)
# Only Apple's OpenSSH knows it; a Mac's configuration is also read in a container on the Mac.
_MACS = re.compile(r"Bad configuration option: usekeychain", re.IGNORECASE)
_NOISE = re.compile(r"^\S+: terminating, \d+ bad configuration options$")
_PERMISSIONS = re.compile(r"Bad owner or permissions on (.+)")


def ask(
    host: str,
    *,
    user: str | None = None,
    port: int | None = None,
    jumps: Sequence[str] = (),
    default_user: str | None = None,
) -> Answers | None:
    """Ask for everything that holds for a host.

    Args:
        user, port, jumps: win over the configuration's.
        default_user: who it is when nothing names a user, instead of who asks.

    Returns:
        None where there is no OpenSSH that could say it.

    Raises:
        RemoteFailed: OpenSSH refuses the configuration, or does not come to an end with it.
    """
    program = shutil.which("ssh")
    if program is None or os.name == "nt" or (home := listed_home()) is None:
        return None
    _see_that_it_can_be_read(user_config())
    options = ["-p", str(port)] if port else []
    options += ["-l", user] if user else []
    options += ["-J", ",".join(jumps)] if jumps else []
    if not default_user and _is_same(home, Path.home()):
        return _answers(program, options, host)
    try:
        with seen_from_here(default_user) as (config, names):
            answers = _answers(program, [*options, "-F", str(config)], host, names)
    except OSError as error:
        raise RemoteFailed(
            f"The SSH configuration cannot be copied for OpenSSH: {error}", next="df -h /tmp"
        ) from error
    # OpenSSH's default is in the other home.
    default = [" ".join(f"{home}/.ssh/known_hosts{number}" for number in ("", "2"))]
    return answers and {key: value for key, value in answers.items() if value != default}


def _answers(
    program: str, options: Sequence[str], host: str, names: Mapping[str, str] | None = None
) -> Answers | None:
    """`names` has what to call a file in a message."""
    try:
        try:
            said = _said(program, options, host)
        except ProgramFailed as error:
            if not _MACS.search(error.output):
                raise
            said = _said(program, ["-o", "IgnoreUnknown=UseKeychain", *options], host)
    except ProgramFailed as error:
        if error.code is not None and _CANNOT_SAY.search(error.output):
            return None
        raise _refused(host, error, names or {}) from error
    answers: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        answers.setdefault(key.lower(), []).append(value)
    return answers


def _said(program: str, options: Sequence[str], host: str) -> str:
    return run(
        [program, "-G", "-o", "LogLevel=ERROR", *options, "--", host],
        seconds=ASK_SECONDS,
        env={"SSH_ASKPASS_REQUIRE": "never"},
        merge_stderr=False,
    )


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _see_that_it_can_be_read(config: Path) -> None:
    """ssh goes on without a configuration that it may not read, to another host than is meant."""
    try:
        config.open("rb").close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RemoteFailed(
            f"The SSH configuration ({config}) cannot be read: {error}", next=f"ls -ld {config}"
        ) from error


def _refused(host: str, error: ProgramFailed, names: Mapping[str, str]) -> RemoteFailed:
    said = error.output
    for copy, original in names.items():
        said = said.replace(copy, original)
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    if error.code is None:
        return RemoteFailed(
            f"OpenSSH did not say within {ASK_SECONDS:g} s what its configuration has for {host}: "
            "a program of `Match exec` or DNS (CanonicalizeHostname) does not answer.",
            output="\n".join(lines),
            next=f"ssh -vG {host}   # says what it waits for",
        )
    what = "; ".join(line.rstrip(".") for line in lines) or error.found.rstrip(".")
    if "Too many recursive" in what:
        what += ": a file is included by itself"
    then = f"ssh -G {host}   # says the same until that is corrected"
    if permissions := _PERMISSIONS.search(what):
        then = f"chmod go-w {permissions[1]}   # and it must be yours: ls -l {permissions[1]}"
    return RemoteFailed(f"OpenSSH refuses its configuration for {host}: {what}.", next=then)
