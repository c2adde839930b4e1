from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops.deadlines import side_by_side
from apps.ops.errors import OpsError
from apps.ops.management.base import CommandWithExitCodes
from apps.ops.output import Output
from apps.ops.presenters.followed import Followed
from apps.ops.redact import Redactor
from apps.ops.remote import attached, commands, env_files
from apps.ops.remote.asking import Remembering, whoever_is_there
from apps.ops.remote.commands import NOT_STARTED, Words
from apps.ops.remote.connection import Completed, Connection, connect
from apps.ops.remote.failures import RemoteFailed
from apps.ops.remote.following import NAME, Detached, Follower, Gone, Wish
from apps.ops.remote.servers import Server, choose, parse

USAGE = 2
SLACK_SECONDS = 5.0

EXIT_CODES = """\
exit codes:
  the command's own, and
  2    usage, or OPS_SERVERS has no such server
  130  Ctrl-C
  255  not known from here: the server could not be reached, the link was lost for good, or you
       detached; what was begun there goes on
"""


class Command(CommandWithExitCodes):
    help = (
        "Run an ops command on a server, over SSH: remote deploy, remote status, remote logs -f. "
        "What changes the server goes on when the link is lost or this is ended; `remote attach` "
        "follows it again."
    )
    works_in_development = True
    exit_codes = EXIT_CODES
    works_with_wrong_variables = True
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--server", metavar="NAME", help="One of OPS_SERVERS. Default: the only one."
        )
        parser.add_argument(
            "--all", action="store_true", help="All servers, side by side: for what only looks."
        )
        parser.add_argument(
            "words",
            nargs=argparse.REMAINDER,
            metavar="COMMAND …",
            help="A management command with its options; or `attach [NAME]`, which follows what "
            "goes on there and how it ends; or `env push|pull|diff|edit`, for the server's .env.",
        )

    def handle(self, *args: Any, words: list[str], **options: Any) -> None:
        name, words = _server_in(words)
        name = name or options["server"]
        if not words:
            raise CommandError("Say what to run there: remote status.", returncode=USAGE)
        if name and options["all"]:
            raise CommandError("Give --server or --all, not both.", returncode=USAGE)
        self._ask = Remembering(whoever_is_there())
        self._by = commands.requester(settings.OPS.requested_by)
        try:
            servers = parse(settings.OPS.servers)
            if options["all"]:
                code = self._on_all(list(servers.values()), words)
            else:
                code = self._on_one(choose(servers, name), words)
        except OpsError as error:
            self._tell(error)
            code = error.exit_code
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            _write_no_more()
            code = 0
        sys.exit(code)

    def _on_one(self, server: Server, words: list[str]) -> int:
        if words[0] == "env":
            return self._env(server, words[1:])
        if words[0] == "attach":
            return self._attach(server, words[1:])
        parsed = Words.of(words)
        if parsed.is_detached(asked=attached.is_terminal()):
            name = commands.new_name(parsed.command)
            argv = commands.detached(
                server.directory,
                parsed,
                name=name,
                by=self._by,
                environment=commands.terminal_environment(*attached.size()),
            )
            return self._follow(server, name, parsed, start=argv)
        with self._connect(server) as connection:
            code = attached.run(connection, words, by=self._by)
        if why := NOT_STARTED.get(code):
            self._say(f"On {server}: {why}.")
            self._say(f"Next: manage.py provision --server {server.name} --plan")
        return code

    def _attach(self, server: Server, words: Sequence[str]) -> int:
        if len(words) > 1 or not all(NAME.fullmatch(word) for word in words):
            raise CommandError(
                "remote attach [NAME]: a name as it was printed, like remote-deploy-….",
                returncode=USAGE,
            )
        return self._follow(server, words[0] if words else None, None, start=None)

    def _follow(
        self,
        server: Server,
        name: str | None,
        words: Words | None,
        *,
        start: Sequence[str] | None,
    ) -> int:
        shown: Followed | None = None
        begun = False
        follower = Follower(
            server,
            lambda: self._connect(server),
            say=self._say,
            wish=lambda: _wish(shown),
        )
        try:
            if start and name:
                follower.connect()
                begun = True
                follower.start(start, name)
            name = name or follower.newest()
            begun = True
            if words is None:
                words = follower.words(name)
                self._say(f"{name}: {' '.join(words.argv)}")
            shown = Followed(words)
            return follower.follow(name, on_stdout=shown.stdout, on_stderr=shown.stderr)
        except Gone:
            # Somebody else saw its end, too, and was the first to tidy up.
            if shown is None or shown.exit_code is None:
                raise
            return shown.exit_code
        except BrokenPipeError:
            _write_no_more()
            raise Detached(
                f"Nobody reads this any more. {name or 'What was begun'} goes on.",
                next=server.command("attach"),
            ) from None
        except KeyboardInterrupt:
            if not begun:
                raise
            raise Detached(f"{name} goes on without you.", next=server.command("attach")) from None
        finally:
            if shown:
                shown.pause()
            follower.close()

    def _env(self, server: Server, words: list[str]) -> int:
        parser = CommandParser(
            prog="manage.py remote env", called_from_command_line=True, allow_abbrev=False
        )
        env_files.add_env_arguments(parser)
        options = vars(parser.parse_args(words))
        with self._connect(server) as connection:
            return env_files.handle_env(
                connection, server, options.pop("action"), options, ask=self._ask
            )

    def _on_all(self, servers: Sequence[Server], words: list[str]) -> int:
        parsed = Words.of(words)
        if not parsed.only_looks:
            raise CommandError(
                f"--all is for what only looks; {parsed.command} goes to one server at a time: "
                "--server NAME.",
                returncode=USAGE,
            )
        if not servers:
            choose({}, None)
        done = self._captured(servers, words)
        for server, outcome in zip(servers, done, strict=True):
            self._show(server, outcome, as_json=parsed.is_json)
        return max(one.code if isinstance(one, Completed) else one.exit_code for one in done)

    def _captured(self, servers: Sequence[Server], words: list[str]) -> list[Completed | OpsError]:
        """One that cannot be reached does not hold up the others."""
        links: list[Connection | OpsError] = []
        for server in servers:  # One after another, because each may ask.
            try:
                links.append(self._connect(server))
            except OpsError as error:
                links.append(error)
        try:
            return [
                link if isinstance(link, OpsError) else outcome
                for link, outcome in zip(links, self._side_by_side(links, words), strict=True)
            ]
        finally:
            for link in links:
                if isinstance(link, Connection):
                    link.close()

    def _side_by_side(
        self, links: Sequence[Connection | OpsError], words: list[str]
    ) -> list[Completed | OpsError]:
        def job(link: Connection | OpsError) -> Completed | OpsError:
            if isinstance(link, OpsError):
                return link
            try:
                done = attached.capture(link, words, by=self._by)
                clean = Redactor.from_environment().clean
                return done._replace(errors=clean(done.errors))
            except OpsError as error:
                return error

        until = monotonic() + attached.CAPTURED_SECONDS + SLACK_SECONDS
        answers = side_by_side(
            [lambda link=link: job(link) for link in links],  # type: ignore[misc]
            until=[until] * len(links),
        )
        return [
            RemoteFailed(f"It did not come to its end: {answer or type(answer).__name__}")
            if isinstance(answer, BaseException) and not isinstance(answer, OpsError)
            else answer
            for answer in answers
        ]

    def _show(self, server: Server, outcome: Completed | OpsError, *, as_json: bool) -> None:
        if as_json:
            self.stdout.json(_as_json(server, outcome))
            return
        self.stdout.write(f"── {server}")
        if isinstance(outcome, OpsError):
            self._tell(outcome)
            return
        self.stdout.text(outcome.output)
        if outcome.errors:
            self.stderr.text(outcome.errors)
        self.stdout.write("")

    def _connect(self, server: Server) -> Connection:
        self._ask.again()
        try:
            return connect(server, ask=self._ask, say=self._say)
        except RemoteFailed as error:
            error.traffic = error.traffic or "Traffic is as it was."
            raise

    def _tell(self, error: OpsError) -> None:
        for text in (error.output, error.found, error.traffic):
            if text:
                self._say(text)
        if error.next:
            self._say(f"Next: {error.next}")

    def _say(self, text: str) -> None:
        # What Docker and Compose say there has passed through nobody's hands. To what sys.stderr is
        # now: live progress moves down for what goes there.
        with suppress(BrokenPipeError):
            Output(sys.stderr).text(text)
            sys.stderr.flush()


def _server_in(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """`remote deploy --server staging` means what `remote --server staging deploy` does: with
    `just deploy`, there is only a place after the command."""
    name, rest, left = None, [], list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        if word == "--server" and left:
            name = left.pop(0)
        elif word.startswith("--server="):
            name = word.removeprefix("--server=")
        else:
            rest.append(word)
    return name, rest


def _write_no_more() -> None:
    """Who read us has seen enough (`| head`); nothing is left for Python to write at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _wish(shown: Followed | None) -> Wish:
    """What Ctrl-C means; where nobody can be asked, it ends the following and nothing else."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Wish.DETACH
    was_live = False
    try:
        was_live = shown is not None and shown.pause()
        out = Output(sys.stderr)
        out.write()
        out.write(
            "It goes on by itself. d: detach, c: cancel it, Enter: go on following: ", ending=""
        )
        out.flush()
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    wishes = {"d": Wish.DETACH, "c": Wish.CANCEL, "": Wish.FOLLOW}
    wish = wishes.get(answer.strip().lower()[:1], Wish.FOLLOW) if answer else Wish.DETACH
    if was_live and shown and wish is not Wish.DETACH:
        shown.resume()
    return wish


def _as_json(server: Server, outcome: Completed | OpsError) -> dict[str, Any]:
    if isinstance(outcome, OpsError):
        return {
            "server": server.name,
            "exit_code": outcome.exit_code,
            "error": {"found": outcome.found, "next": outcome.next, "output": outcome.output},
        }
    try:
        output = json.loads(outcome.output)
    except ValueError:
        output = outcome.output
    return {
        "server": server.name,
        "exit_code": outcome.code,
        "output": output,
        "errors": outcome.errors,
    }
