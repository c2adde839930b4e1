#!/usr/bin/env python
"""Django's command line, with two additions: a missing variable is a sentence, not a traceback, and
a traceback has no secret in it."""

import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

OPS_COMMANDS = Path(__file__).parent / "apps" / "ops" / "management" / "commands"


def safe(text: str) -> str:
    """Without secrets, and nothing in it that a terminal would obey."""
    from apps.ops.gate import shown
    from apps.ops.redact import Redactor

    lines = Redactor.from_environment().clean(text).split("\n")
    return "\n".join(shown(line) for line in lines)


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(safe("".join(traceback.format_exception(kind, error, trace))))


def main() -> None:
    sys.excepthook = show
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from apps.ops.variables import Environment

    # These refuse by themselves, or go on and say what is wrong.
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    Environment.only_collects = (OPS_COMMANDS / f"{Path(command).name}.py").exists()
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except ImproperlyConfigured as error:
        sys.exit(
            f"Configuration: {safe(str(error))}\n"
            "Nothing was changed; traffic is as it was.\n"
            "Next: set it in .env (.env.example describes every variable) and run this again."
        )


if __name__ == "__main__":
    main()
