"""The presenter that a command's options and its output ask for."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from apps.ops.deploys.events import Listener
from apps.ops.presenters.console import Terminal
from apps.ops.presenters.jsonl import JsonLines
from apps.ops.presenters.lines import Lines


def add_format(parser: CommandParser) -> None:
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="json: one object a line, one line an event. Default: text, live on a terminal.",
    )


def presenter(options: dict[str, Any], *, kind: str) -> Listener:
    if options["format"] == "json":
        return JsonLines(sys.stdout)
    live = sys.stdout.isatty() or options["force_color"]
    if live and options["verbosity"] == 1:
        return Terminal(sys.stdout, color=not options["no_color"], kind=kind)
    return Lines(sys.stdout, verbosity=options["verbosity"], kind=kind)
