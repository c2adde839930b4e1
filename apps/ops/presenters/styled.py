"""Styled text on a terminal. A text as it is goes through the gate and is no markup of rich's; what
has a style is made here."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Span, Text

from apps.ops.gate import shown
from apps.ops.redact import Redactor

PIPE_WIDTH = 160


class Screen(Console):
    """A console for which each text is one line of somebody's, unless `styled` made it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self._redactor = Redactor.from_environment()

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown(self._redactor.clean(text)), **options)

    def say(self, template: str, *values: object) -> None:
        self.print(self.styled(template, *values))

    def styled(self, template: str, *values: object) -> Text:
        """Our own markup, with values for each `{}` that are none."""
        made = Text.from_markup(template, emoji=False)
        text, spans, after = made.plain, made.spans, 0
        for value in values:
            at = text.index("{}", after)
            put = value.plain if isinstance(value, Text) else self._safe(str(value))
            grown = len(put) - len("{}")
            text = f"{text[:at]}{put}{text[at + 2 :]}"
            spans = [
                Span(s.start + grown * (s.start > at), s.end + grown * (s.end > at), s.style)
                for s in spans
            ]
            after = at + len(put)
        return Text(text, spans=spans)

    def _safe(self, text: str) -> str:
        return shown(self._redactor.clean(text))


def screen(options: dict[str, Any], *, out: TextIO | None = None, **more: Any) -> Screen:
    """For a command's options; of a width of its own where nobody looks."""
    width = None if (out or sys.stdout).isatty() else PIPE_WIDTH
    return Screen(
        file=out,
        no_color=options["no_color"],
        force_terminal=options["force_color"] or None,
        **{"width": width, **more},
    )


def table(*headings: str) -> Table:
    made = Table(box=box.SIMPLE, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made
