from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import CommandParser

from apps.ops.errors import OpsError, Refused
from apps.ops.interrupts import cancellable
from apps.ops.management.base import CommandWithExitCodes
from apps.ops.provision.machine import Machine
from apps.ops.provision.own_keys import own_keys
from apps.ops.provision.plan import Tally, walk
from apps.ops.provision.steps import CAN_SKIP, STEPS
from apps.ops.provision.steps.base import Wish
from apps.ops.remote.asking import Remembering, whoever_is_there
from apps.ops.remote.commands import requester
from apps.ops.remote.connection import Connection, connect
from apps.ops.remote.failures import LinkLost
from apps.ops.remote.servers import Misnamed, Server, choose, parse
from apps.ops.remote.ssh_config import configured_user, look_up

GIT_SECONDS = 10
TRAFFIC = "What was done before stays done; traffic is as it was."

EXIT_CODES = """\
exit codes:
  0    all is there; with --plan: it was told
  1    a step failed
  2    usage
  5    a surprise that a person has to settle, or the deploy key has to be added to the repository
  130  cancelled
  255  the server was not reached, or the link was cut

Whatever it stopped at, the same command goes on from there: what is done is there already.
"""


class Command(CommandWithExitCodes):
    help = (
        "Make a fresh Debian or Ubuntu machine the site's server, over SSH: Docker, firewall, "
        "security updates, deploy user and key, clone, .env, supervisor, the first deployment. "
        "What is there already is left alone."
    )
    works_in_development = True
    exit_codes = EXIT_CODES
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--server", metavar="NAME", help="One of OPS_SERVERS.")
        parser.add_argument(
            "--plan",
            action="store_true",
            help="Say what is there and what would be done; do nothing.",
        )
        parser.add_argument(
            "--login",
            default="root",
            metavar="USER",
            help="Who logs in: root, or one who may use sudo without a password. Default: root. "
            "The user in OPS_SERVERS is the one that is made and deploys.",
        )
        parser.add_argument(
            "--repository",
            metavar="ADDRESS",
            help="What the server clones. Default: this checkout's remote.",
        )
        parser.add_argument(
            "--site-host",
            metavar="HOST",
            help="The site's name, for a new .env. Default: the server's host.",
        )
        parser.add_argument(
            "--skip",
            action="append",
            default=[],
            choices=sorted(CAN_SKIP),
            help="Leave this step out. Repeatable.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            server = choose(parse(settings.OPS.servers), options["server"])
            user = _deploy_user(server)
            wish = self._wish(server, options)
            again = "The same command again: it goes on where it was."
            with cancellable(next=again):
                try:
                    tally = self._walk(server, user, wish, options)
                except LinkLost as error:
                    error.next = again
                    raise
        except OpsError as error:
            self._fail(error)
        self._conclude(tally, plan=options["plan"])

    def _walk(self, server: Server, user: str, wish: Wish, options: dict[str, Any]) -> Tally:
        skipped = [CAN_SKIP[name] for name in options["skip"]]
        ask = Remembering(whoever_is_there())

        def link(login: str) -> Connection:
            ask.again()
            return connect(replace(server, user=login), ask=ask, say=self._say)

        with link(options["login"]) as connection:
            machine = Machine(connection, server, deploy_user=user, connect=link, say=self._say)
            steps = [step(machine, wish) for step in STEPS if step not in skipped]
            return walk(steps, only_look=options["plan"], say=self._say)

    def _wish(self, server: Server, options: dict[str, Any]) -> Wish:
        ops = settings.OPS
        repository = options["repository"] or _address(settings.BASE_DIR, ops.remote)
        if _tells_a_secret(repository):
            raise Refused(
                "The repository's address has a password or a token in it, which every user of the "
                "server could read.",
                next="Name it without, over SSH for a deploy key: --repository ADDRESS",
            )
        return Wish(
            project=settings.BASE_DIR,
            repository=repository,
            branch=ops.branch,
            known_hosts=(Path.home() / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts")),
            site_host=options["site_host"] or server.host,
            requested_by=requester(ops.requested_by),
            own_keys=own_keys(look_up(server.host, user=server.user, port=server.port)),
        )

    def _conclude(self, tally: Tally, *, plan: bool) -> None:
        if not tally.done:
            self._say(f"All {tally.there} steps are there already: nothing was changed.")
        elif plan:
            self._say(f"To do: {tally.done} steps; there: {tally.there}. Nothing was changed.")
        else:
            self._say(f"Done: {tally.done} steps; there already: {tally.there}.")

    def _fail(self, error: OpsError) -> NoReturn:
        for line in error.output.splitlines():
            self.stderr.write(f"  | {line}")
        error.output = ""
        self.tell(error, traffic=TRAFFIC)
        sys.exit(error.exit_code)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _deploy_user(server: Server) -> str:
    """As whom `remote` logs in."""
    if user := server.user or configured_user(server.host):
        return user
    port = f":{server.port}" if server.port else ""
    raise Misnamed(
        f"OPS_SERVERS names no user for {server.name}, and provision makes the one that deploys.",
        next=f"OPS_SERVERS={server.name}=deploy@{server.host}{port}{server.directory}   # in .env",
    )


def _tells_a_secret(address: str) -> bool:
    """A password; over HTTP a name alone can be a token, too."""
    if "://" not in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise Refused(
            f"{address!r} is no address that git could clone: {error}.",
            next="Name another: --repository git@forge.example.org:you/site.git",
        ) from None
    return bool(parts.password or (parts.scheme in ("http", "https") and parts.username))


def _address(project: Path, remote: str) -> str:
    """Where this machine's checkout has its remote."""
    argv = ["git", "-C", str(project), "remote", "get-url", remote]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    else:
        if done.returncode == 0:
            return done.stdout.strip()
        reason = done.stderr.strip()
    raise Refused(
        f"This checkout does not tell the address of its remote {remote}: {reason}",
        next="Name what the server is to clone: --repository git@forge.example.org:you/site.git",
    )
