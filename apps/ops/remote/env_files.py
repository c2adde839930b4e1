"""`remote env push|pull|diff|edit`: the `.env` of a server, carried without showing a value."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.ops.dotenv import Changes, Dotenv, Example, compare, parse, read_example
from apps.ops.errors import Cancelled, OpsError, Refused, StepFailed
from apps.ops.interrupts import cancellable
from apps.ops.output import Output
from apps.ops.remote.asking import Ask, Say, whoever_is_there
from apps.ops.remote.connection import Connection
from apps.ops.remote.editor import open_in
from apps.ops.remote.private_files import read, write_private
from apps.ops.remote.server_file import ServerFile
from apps.ops.remote.servers import Server
from apps.ops.site_conf import wrong_in

ACTIONS = ("push", "pull", "diff", "edit")
DIFFERENT = 1
LAPTOPS = "OPS_SERVERS"
EDITORS = ("nano", "vi")
UNCHANGED = "Nothing was changed on the server; traffic is as it was."
# What is easily forgotten about a name whose value changes.
_NOTES = {
    "POSTGRES_PASSWORD": "Postgres keeps the password that it was first started with: change it "
    "there, too (ALTER USER).",
    "SECRET_KEY": "Queued tasks are read with the current key only. Put the old one into "
    "SECRET_KEY_FALLBACKS, so that nobody is signed out.",
    "COMPOSE_PROJECT_NAME": "Another project name is another stack, with an empty database.",
}


def add_env_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="push: send this machine's copy. pull: fetch the server's. diff: the names that "
        "differ. edit: change the server's in $VISUAL, $EDITOR, nano or vi.",
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="This machine's copy. Default: .env.SERVER (production: .env.production).",
    )
    parser.add_argument(
        "--allow-unknown", action="store_true", help="Send names that .env.example does not have."
    )
    parser.add_argument(
        "--noinput", "--no-input", action="store_false", dest="interactive", help="Do not ask."
    )


def handle_env(
    connection: Connection,
    server: Server,
    action: str,
    options: Mapping[str, Any],
    *,
    ask: Ask | None = None,
) -> int:
    """Do one of ACTIONS with the server's `.env`.

    Args:
        options: what `add_env_arguments` parsed: file, allow_unknown, interactive.

    Returns:
        The exit code: 0; 1 when `diff` found a difference.

    Raises:
        Refused: a check against `.env.example` says no, nobody can be asked, or the file was
            changed by somebody else meanwhile.
        Cancelled: the answer was no, or a signal came before anything was sent.
        StepFailed: the server, or this machine, did not take the file.
        RemoteFailed: something on the way to the server.
    """
    again = f"{server.command(f'env {action}')}   # when you like"
    try:
        # What lies in a temporary directory is removed, whatever ends us.
        with cancellable(next=again) as cancellation:
            work = _EnvFiles(
                connection, server, options, ask or whoever_is_there(), _say, cancellation.shield
            )
            return {"push": work.push, "pull": work.pull, "diff": work.diff, "edit": work.edit}[
                action
            ]()
    except OpsError as error:
        error.traffic = error.traffic or UNCHANGED
        raise


class _EnvFiles:
    def __init__(
        self,
        connection: Connection,
        server: Server,
        options: Mapping[str, Any],
        ask: Ask,
        say: Say,
        shield: Callable[[], None],
    ) -> None:
        self._server = server
        self._remote = ServerFile(connection, f"{server.directory}/.env")
        root: Path = settings.BASE_DIR
        self._local = Path(options.get("file") or root / f".env.{server.name}")
        self._example_path = root / ".env.example"
        self._allow_unknown = bool(options.get("allow_unknown"))
        self._interactive = bool(options.get("interactive", True))
        self._ask = ask
        self._say = say
        self._shield = shield
        self._command = server.command("env")

    def push(self) -> int:
        text = self._read_local()
        given = self._parse(text, str(self._local))
        self._check(given, again=f"{self._command} push")
        present = self._remote.read()
        changes = compare(parse(present or ""), given)
        if present == text:
            self._say(f"{self._server} has it already: nothing was sent.")
            return 0
        self._show(changes, given)
        if self._interactive and not self._ask.yes(f"Send this to {self._server}?"):
            raise Cancelled(
                "Nothing was sent.", next=f"{self._command} push   # --noinput: unasked"
            )
        self._send(text, present, changes)
        return 0

    def pull(self) -> int:
        text = self._require_remote()
        if self._local.exists() and self._read_local() == text:
            self._say(f"{self._local} is the same already.")
            return 0
        copy = write_private(self._local, text)
        names = len(parse(text).values)
        self._say(f"Wrote {self._local} (mode 0600): {names} names from {self._server}.")
        if copy:
            self._say(f"The old one is kept as {copy.name}.")
        return 0

    def diff(self) -> int:
        given = self._parse(self._read_local(), str(self._local))
        changes = compare(parse(self._require_remote()), given)
        for line in changes.lines():
            self._say(line)
        self._say(
            f"+ only in {self._local.name}, - only on {self._server}, ~ another value."
            if changes
            else f"{self._local.name} and {self._server} have the same names and values."
        )
        return DIFFERENT if changes else 0

    def edit(self) -> int:
        present = self._require_remote()
        directory = Path(tempfile.mkdtemp(prefix="changeover-env-"))  # For us alone: mode 0700.
        try:
            path = directory / ".env"
            write_private(path, present)
            text, given = self._edited(path)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if text == present:
            self._say("Nothing was changed, nothing was sent.")
            return 0
        changes = compare(parse(present), given)
        self._show(changes, given)
        try:
            self._send(text, present, changes)
        except OpsError as error:
            kept = self._local.with_name(f"{self._local.name}.edited")
            try:
                write_private(kept, text)
            except StepFailed as unkept:
                error.found = f"{error.found} What you wrote could not be kept: {unkept.found}"
                raise error from None
            error.found = f"{error.found} What you wrote is kept in {kept} (mode 0600)."
            error.next = f"{self._command} push --file {kept}   # first: {error.next}"
            raise
        return 0

    # --- Parts of these ---------------------------------------------------------------------------

    def _edited(self, path: Path) -> tuple[str, Dotenv]:
        """What the editor left; it is opened again as long as that may not be sent."""
        editor = self._editor()
        while True:
            open_in(editor, path)
            try:
                text = self._read_edited(path)
                given = self._parse(text, "what you wrote")
                self._check(given, again=f"{self._command} edit")
                return text, given
            except Refused as error:
                again = f"{error.found} Open the editor again?"
                if not (self._interactive and self._ask.yes(again)):
                    error.found = f"{error.found} What you wrote was not kept."
                    raise

    def _read_edited(self, path: Path) -> str:
        try:
            return read(path)
        except FileNotFoundError:
            raise Refused(
                "The editor removed the file.", next=f"Again, when you like: {self._command} edit"
            ) from None

    def _editor(self) -> list[str]:
        """The first that is there of what the user wishes and what there mostly is."""
        missing: list[str] = []
        for name in (os.environ.get("VISUAL"), os.environ.get("EDITOR"), *EDITORS):
            try:
                argv = shlex.split(name or "")
            except ValueError:
                argv = []
            if argv and shutil.which(argv[0]):
                if wished := [one for one in missing if one not in EDITORS]:
                    self._say(f"{wished[0]} is not to be had here: {argv[0]} is opened.")
                return argv
            if name:
                missing.append(name)
        raise Refused(
            f"There is no editor here: {_names(list(dict.fromkeys(missing)))}.",
            next=f"{self._command} pull   # change {self._local.name}, then: {self._command} push",
        )

    def _send(self, text: str, present: str | None, changes: Changes) -> None:
        # From here on it comes to its end: the old one or the new one.
        self._shield()
        copy = self._remote.replace(text, expected=present)
        self._say(f"{self._server} has it (mode 0600).")
        if copy:
            self._say(f"The old one is kept there as {copy}.")
        for name in changes.changed:
            if name in _NOTES:
                self._say(f"note: {_NOTES[name]}")
        self._say(f"It counts from the next deploy: {self._server.command('deploy')}")

    def _show(self, changes: Changes, given: Dotenv) -> None:
        for line in changes.lines():
            self._say(line)
        if not changes:
            self._say("The names and values are the same: comments or their order differ.")
        for name in given.interpolated:
            self._say(
                f"note: {name} has a $, which Compose takes for a variable. Put the value into "
                "single quotes if it is meant as it stands."
            )

    def _parse(self, text: str, where: str) -> Dotenv:
        given = parse(text)
        if given.wrong:
            numbers = ", ".join(str(number) for number in given.wrong)
            raise Refused(
                f"{where} has lines that Compose cannot read as NAME=value: {numbers}.",
                next=f"Fix them, then again: {self._command} …",
            )
        return given

    def _check(self, given: Dotenv, *, again: str) -> None:
        if LAPTOPS in given.values:
            raise Refused(
                f"{LAPTOPS} is for your own machine: with it, `just deploy` on the server would go "
                "out over SSH.",
                next=f"Take it out, then again: {again}",
            )
        plain = {n: v for n, v in given.values.items() if n not in given.interpolated}
        if wrong := wrong_in(plain):
            raise Refused(" ".join(wrong), next=f"Fix that, then again: {again}")
        example = self._example()
        if missing := example.missing(given):
            raise Refused(
                f".env.example requires {_names(missing)}, without a value here.",
                next=f"Give a value, then again: {again}",
            )
        if self._allow_unknown:
            return
        unknown = _names(example.unknown(given))
        # By their numbers: what stands there may be no name, but a line of a key.
        bare = _names([str(n) for n, name in given.bare.items() if not example.has(name)])
        if unknown or bare:
            what = unknown or f"the names on lines that have no value: {bare}"
            raise Refused(
                f".env.example does not have {what}.",
                next=f"Correct or describe it there, or: {again} --allow-unknown",
            )

    def _example(self) -> Example:
        try:
            return read_example(self._example_path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(
                f"The names cannot be checked: {self._example_path} cannot be read ({error}).",
                next=f"git checkout -- {self._example_path.name}",
            ) from None

    def _read_local(self) -> str:
        try:
            return read(self._local)
        except FileNotFoundError:
            raise Refused(
                f"There is no {self._local}.",
                next=f"{self._command} pull   # or name it: --file FILE",
            ) from None

    def _require_remote(self) -> str:
        text = self._remote.read()
        if text is None:
            raise Refused(
                f"{self._server} has no {self._remote.path}.",
                next=f"{self._command} push   # a new server: manage.py provision "
                f"--server {self._server.name}",
            )
        return text


def _say(line: str) -> None:
    out = Output(sys.stdout)
    out.text(line)
    out.flush()


def _names(names: list[str]) -> str:
    return ", ".join(names)
