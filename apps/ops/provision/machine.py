"""The server, as provisioning sees it: run something as root or as the deploy user, keep files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

from apps.ops.errors import Refused, StepFailed
from apps.ops.processes import Say
from apps.ops.remote.connection import Completed, Connection
from apps.ops.remote.servers import Server

TAIL_LINES = 20
LOOK_SECONDS = 60.0
NO_FILE = 44

# sh's own words, and nothing spliced in: all that differs comes as arguments, contents on stdin.
_READ = f'[ -e "$1" ] || exit {NO_FILE}; exec cat -- "$1"'
_WRITE = """\
set -eu
new=$1.changeover-new
umask 077
trap 'rm -f -- "$new"' EXIT
cat >"$new"
# Of a link that is cut, the end looks like the text's.
[ "$(wc -c <"$new")" -eq "$5" ] || { echo "only a part of $1 arrived" >&2; exit 1; }
chown -- "$3" "$new"
chmod -- "$2" "$new"
sync -- "$new" || true
if [ -e "$1" ]; then cp -p -- "$1" "$1.before-$4"; echo "$1.before-$4"; fi
mv -f -- "$new" "$1"
"""


class Machine:
    """Facts are asked for when they are needed. Every wait has a deadline.

    Args:
        deploy_user: the one that is made and deploys.
        connect: makes another link to the server, for a user of it.
    """

    def __init__(
        self,
        connection: Connection,
        server: Server,
        *,
        deploy_user: str,
        connect: Callable[[str], Connection],
        say: Say,
    ) -> None:
        self._connection = connection
        self.server = server
        self.connect = connect
        self.say = say
        self.deploy_user = deploy_user
        self.directory = server.directory

    # --- Facts ------------------------------------------------------------------------------------

    @cached_property
    def login(self) -> str:
        """Who is logged in."""
        return self._fact("id", "-un")

    @cached_property
    def ssh_port(self) -> int | None:
        """The port on which sshd took this connection; None when it does not say."""
        words = self.ssh_connection.split()
        return int(words[3]) if len(words) == 4 and words[3].isdigit() else None

    @cached_property
    def ssh_connection(self) -> str:
        """Whence and whither, as sshd tells its sessions; sudo does not hand that on."""
        return self._fact("sh", "-c", 'echo "${SSH_CONNECTION:-}"')

    @cached_property
    def has_systemd(self) -> bool:
        return self.run(["test", "-d", "/run/systemd/system"], check=False).code == 0

    @cached_property
    def _sudo(self) -> list[str]:
        if self._fact("id", "-u") == "0":
            return []
        asked = self.run(["sudo", "-n", "true"], check=False)
        if asked.code == 0:
            return ["sudo", "-n", "--"]
        found = (
            f"{self.login} needs sudo on {self.server.host}, and there is none"
            if asked.code == 127
            else f"sudo asks {self.login} for a password on {self.server.host}, or does not let it"
        )
        raise Refused(
            f"{found}. Provisioning takes root.",
            next=f"manage.py provision --server {self.server.name} --login root   # or let "
            f"{self.login} use sudo without a password (NOPASSWD) meanwhile",
        )

    def require_root(self) -> None:
        """Raises:
        Refused: who logged in is not root and cannot become it.
        """
        self._sudo  # noqa: B018  # Asked for once; it raises.

    def home(self) -> str | None:
        """The deploy user's home directory, or None when there is no such user."""
        known = self.root(["getent", "passwd", self.deploy_user], check=False)
        return known.output.strip().split(":")[5] if known.code == 0 else None

    # --- Running ----------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = LOOK_SECONDS,
        stdin: bytes | None = None,
        check: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run something as who logged in.

        Raises:
            StepFailed: it ended with another code than 0, and `check` was asked for.
            RemoteFailed: something on the way to the server, or it took longer than `seconds`.
        """
        return self._run([], argv, seconds, stdin, check=check, say=say)

    def _run(
        self,
        before: Sequence[str],
        argv: Sequence[str],
        seconds: float,
        stdin: bytes | None,
        *,
        check: bool,
        say: Callable[[str], None] | None,
    ) -> Completed:
        # In C's language: what programs say is read.
        words = [*before, "env", "LC_ALL=C.UTF-8", *argv]
        done = self._connection.run(words, seconds=seconds, stdin=stdin, say=say)
        if check and done.code:
            raise StepFailed(
                f"`{_short(argv)}` ended with exit code {done.code} on {self.server.host}.",
                output=_tail(done.errors or done.output),
            )
        return done

    def root(
        self,
        argv: Sequence[str],
        *,
        seconds: float = LOOK_SECONDS,
        stdin: bytes | None = None,
        check: bool = True,
        say: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run something as root; else as `run`."""
        before = [*self._sudo, *_with(env)]
        return self._run(before, argv, seconds, stdin, check=check, say=say)

    def user(
        self,
        argv: Sequence[str],
        *,
        directory: str | None = None,
        seconds: float = LOOK_SECONDS,
        stdin: bytes | None = None,
        check: bool = True,
        say: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run something as the deploy user, with its groups as they are now; else as `run`.

        Args:
            directory: where; the user's home without one.
        """
        home = self.home() or "/"
        where = directory or home
        own = {
            "HOME": home,
            "USER": self.deploy_user,
            "LOGNAME": self.deploy_user,
            # Compose reads it.
            "PWD": where,
            "SSH_CONNECTION": self.ssh_connection,
        }
        become = [*self._sudo, "runuser", "-u", self.deploy_user, "--", "env", "-C", where]
        given = [f"{name}={value}" for name, value in {**own, **(env or {})}.items()]
        return self._run([*become, *given], argv, seconds, stdin, check=check, say=say)

    def has(self, path: str) -> bool:
        return self.root(["test", "-e", path], check=False).code == 0

    def read(self, path: str) -> str | None:
        """A file's text as root reads it, or None when there is none."""
        done = self.root(["sh", "-c", _READ, "sh", path], check=False)
        if done.code == NO_FILE:
            return None
        if done.code:
            raise StepFailed(
                f"{path} on {self.server.host} cannot be read.", output=_tail(done.errors)
            )
        return done.output

    def write(self, path: str, text: str, *, mode: str, owner: str = "root:root") -> str:
        """Write a file at once and whole; what was there is kept as a dated copy.

        Returns:
            What was done, as a part of a sentence.
        """
        now = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        data = text.encode()
        argv = ["sh", "-c", _WRITE, "sh", path, mode, owner, now, str(len(data))]
        copy = self.root(argv, stdin=data).output.strip()
        return f"wrote {path}" + (f" (the old one is kept as {copy})" if copy else "")

    def _fact(self, *argv: str) -> str:
        return self.run(argv).output.strip()


def _with(env: Mapping[str, str] | None) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in env.items())] if env else []


def _short(argv: Sequence[str]) -> str:
    words = shlex.join(argv)
    return words if len(words) <= 100 else f"{words[:99]}…"


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
