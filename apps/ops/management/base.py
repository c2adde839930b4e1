from __future__ import annotations

import argparse
import sys
from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.ops import beside_the_socket
from apps.ops.errors import OpsError, Refused
from apps.ops.gate import shown
from apps.ops.output import Output
from apps.ops.variables import DEFAULT_COUNTS, require_right_variables, wrong_variables


class OpsCommand(BaseCommand):
    """A command whose output goes through the gate."""

    stdout: Output
    stderr: Output

    # Whether it looks or goes back, and so goes on with the defaults of variables that cannot be
    # read. What moves traffic forward, removes or restores must not.
    works_with_wrong_variables: ClassVar[bool] = False
    # Whether it says itself which those are.
    tells_wrong_variables: ClassVar[bool] = False
    # Whether it has something to do in a development stack, which has no Docker.
    works_in_development: ClassVar[bool] = False

    def __init__(self, stdout: Any = None, stderr: Any = None, **options: Any) -> None:
        super().__init__(stdout, stderr, **options)
        style = self.stderr.style_func
        self.stdout = Output(stdout or sys.stdout)
        self.stderr = Output(stderr or sys.stderr)
        self.stderr.style_func = style

    def execute(self, *args: Any, **options: Any) -> str | None:
        for name in ("stdout", "stderr"):
            if out := options.pop(name, None):
                setattr(self, name, Output(out))
        try:
            self._look_around()
        except Refused as error:
            self.tell(error)
            sys.exit(error.exit_code)
        return super().execute(*args, **options)

    def _look_around(self) -> None:
        if not self.works_in_development:
            beside_the_socket.require_not_development(settings.BASE_DIR / ".env")
        if not self.works_with_wrong_variables:
            name = type(self).__module__.rpartition(".")[2]
            require_right_variables(again=f"manage.py {name}")
        for sentence in () if self.tells_wrong_variables else wrong_variables():
            self.stderr.write(f"Warning: {sentence} {DEFAULT_COUNTS}")

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(*args, **kwargs)
        parser.__class__ = _Parser
        return parser

    def tell(self, error: OpsError, *, traffic: str = "Traffic is as it was.") -> None:
        """What was found, what it means for the traffic, the next command.

        Args:
            traffic: what is said of it when the error says nothing.
        """
        self.stderr.text(error.output)
        self.stderr.write(error.found)
        if said := error.traffic or traffic:
            self.stderr.write(said)
        if error.next:
            self.stderr.write(f"Next: {error.next}")


class CommandWithExitCodes(OpsCommand):
    """A command whose --help ends with what its exit codes mean."""

    exit_codes: ClassVar[str]

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(*args, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = self.exit_codes
        return parser


class _Parser(CommandParser):
    def error(self, message: str) -> NoReturn:
        raise super().error(shown(message))
