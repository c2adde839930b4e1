from __future__ import annotations

import argparse
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser


class CommandWithExitCodes(BaseCommand):
    """A command whose --help ends with what its exit codes mean."""

    exit_codes: ClassVar[str]

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(*args, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = self.exit_codes
        return parser
