"""A management command as it is run on a server: in the utility container, in its checkout."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

# The container's label: the checkout it is for.
LABEL = "changeover.remote"
COMMAND_LABEL = "changeover.remote.command"
# A shell's and Docker's codes for what could not be started; the first is for the directory.
NOT_STARTED = {
    125: "the checkout or the container is not there, or not to be used",
    126: "docker may not be used by this user",
    127: "there is no docker, or the checkout has no docker/doctor",
}
# What is not cut short with the link: it changes what is live, or takes long.
DETACHED = {
    *("deploy", "rollback", "recover", "purge_cache", "backup_db", "restore_db", "clean_up"),
    *("migrate", "apply_migrations"),
}
# Their events can be shown here as there.
EVENTFUL = {"deploy", "rollback"}
ONLY_LOOKS = {"--plan", "--help", "-h", "--version", "--check", "--dry-run", "--list"}
LOOKING = {
    *("status", "doctor", "logs", "history", "check_health", "health_history"),
    *("check", "showmigrations"),
}
# Nothing tells the container that its reader is gone, and `logs -f` would stay for ever: a hung-up
# terminal ends Compose at most. The parent is sshd, and ends with the link.
_WATCHED = """\
cd -- "$1" || exit 125
name=$2
shift 2
end() { docker stop "$name"; docker rm --force "$name"; } >/dev/null 2>&1
{
    trap '' HUP
    while [ -d "/proc/$PPID" ]; do sleep 2; done
    end
    # Compose may be about to make it.
    while [ -d "/proc/$$" ]; do sleep 2; end; done
} >/dev/null 2>&1 &
watch=$!
"$@"
code=$?
kill "$watch" 2>/dev/null
[ "$code" -le 128 ] || end
exit "$code"
"""
# What it writes is kept until its end: cut off from its reader, Compose would die half-way.
_STARTING = (
    'cd -- "$1" || exit 125; shift; said=$("$@" 2>&1); code=$?; printf "%s\\n" "$said"; exit $code'
)


@dataclass(frozen=True, slots=True)
class Words:
    """A command line, and what of it matters here as well."""

    argv: Sequence[str]
    is_json: bool
    verbosity: int
    no_color: bool
    force_color: bool
    is_unattended: bool

    @classmethod
    def of(cls, argv: Sequence[str]) -> Words:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument("--format", nargs="?")
        parser.add_argument("--verbosity", "-v", nargs="?")
        parser.add_argument("--no-color", action="store_true")
        parser.add_argument("--force-color", action="store_true")
        parser.add_argument("--noinput", "--no-input", action="store_true")
        try:
            known, _ = parser.parse_known_args(list(argv[1:]))
        except argparse.ArgumentError:
            # The server refuses it, in its own words.
            known = parser.parse_args([])
        return cls(
            argv=argv,
            is_json=known.format == "json",
            verbosity=int(known.verbosity) if known.verbosity in ("0", "1", "2", "3") else 1,
            no_color=known.no_color,
            force_color=known.force_color,
            is_unattended=known.noinput,
        )

    @property
    def command(self) -> str:
        return self.argv[0]

    @property
    def is_eventful(self) -> bool:
        """Its events are read here, and shown as they would be there."""
        return self.command in EVENTFUL

    @property
    def only_looks(self) -> bool:
        """It changes nothing, and comes to an end by itself."""
        given = set(self.argv)
        return bool(ONLY_LOOKS & given) or (
            self.command in LOOKING and not {"-f", "--follow"} & given
        )

    def is_detached(self, *, asked: bool) -> bool:
        """Whether it goes on when nobody is connected.

        Args:
            asked: somebody is at the terminal, and can be asked by it.
        """
        if self.command not in DETACHED or ONLY_LOOKS & set(self.argv):
            return False
        if any(word.startswith("@/dev/") for word in self.argv):
            return False
        asks = self.command == "restore_db" or "--everything" in self.argv
        return not (asks and asked and not self.is_unattended)

    def as_run(self) -> list[str]:
        if self.is_eventful and not self.is_json:
            return [self.command, "--format", "json", *self.argv[1:]]
        return list(self.argv)


def new_name(command: str) -> str:
    """The name of a container that nobody else gives: Docker refuses a second one of it."""
    return f"remote-{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def attached(directory: str, argv: Sequence[str], *, name: str, by: str, tty: bool) -> list[str]:
    if argv[0] == "doctor":
        # The script answers when no container can be started.
        words = ["docker/doctor", *argv[1:]]
    else:
        words = [
            *_compose("--rm", *([] if tty else ["--no-TTY"]), "--name", name),
            *_environment({"OPS_REQUESTED_BY": by}),
            *("utility", "python", "manage.py", *argv),
        ]
    return ["sh", "-c", _WATCHED, "sh", directory, name, *words]


def detached(
    directory: str, words: Words, *, name: str, by: str, environment: Mapping[str, str]
) -> list[str]:
    return [
        *("sh", "-c", _STARTING, "sh", directory),
        *_compose("--detach", "--no-TTY", "--name", name),
        *("--label", f"{LABEL}={directory}"),
        *("--label", f"{COMMAND_LABEL}={shlex.join(words.argv)}"),
        *_environment({"OPS_REQUESTED_BY": by, **environment}),
        *("utility", "python", "manage.py", *words.as_run()),
    ]


def requester(settings_say: str) -> str:
    """user@host of who sits here, for the history there.

    Args:
        settings_say: OPS_REQUESTED_BY; a container does not know whose laptop it is on.
    """
    by = settings_say
    if not by:
        try:
            by = getpass.getuser()
        except (KeyError, OSError):
            by = "unknown"
    return by if "@" in by else f"{by}@{socket.gethostname()}"


def terminal_environment(columns: int, lines: int) -> dict[str, str]:
    return {
        "COLUMNS": str(columns),
        "LINES": str(lines),
        "TERM": os.environ.get("TERM", "xterm"),
    }


def _compose(*flags: str) -> list[str]:
    return ["env", "COMPOSE_PROGRESS=quiet", "docker", "compose", "run", *flags]


def _environment(values: Mapping[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("--env", f"{name}={value}")]
