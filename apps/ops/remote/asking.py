"""Questions to whoever sits at the terminal; where nobody does, none is asked."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import Protocol

from apps.ops.gate import shown
from apps.ops.output import Output

Say = Callable[[str], None]


class Ask(Protocol):
    """A question that nobody answers counts as a no."""

    def yes(self, question: str) -> bool:
        """Whether the answer was the whole word "yes"."""

    def secret(self, question: str) -> str | None:
        """What was typed without being shown, or None."""


class Nobody:
    """For pipes, cron and CI."""

    def yes(self, question: str) -> bool:
        return False

    def secret(self, question: str) -> str | None:
        return None


class Terminal:
    def yes(self, question: str) -> bool:
        out = Output(sys.stderr)
        *lines, last = question.split("\n")
        for line in lines:
            out.write(line)
        out.write(f"{last} Type 'yes' to go on: ", ending="")
        out.flush()
        return sys.stdin.readline().strip().lower() == "yes"

    def secret(self, question: str) -> str | None:
        try:
            return getpass.getpass(f"{shown(question)}: ", stream=sys.stderr) or None
        except EOFError:
            return None


class Remembering:
    """Asks for a secret once: a link that is made again asks for the same.

    What was typed is tried again first; wrong, it is asked for.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._answers: dict[str, str] = {}
        self._tried: set[str] = set()

    def again(self) -> None:
        """From here on it is about a new link."""
        self._tried.clear()

    def yes(self, question: str) -> bool:
        return self._ask.yes(question)

    def secret(self, question: str) -> str | None:
        if question in self._answers and question not in self._tried:
            self._tried.add(question)
            return self._answers[question]
        self._tried.add(question)
        if answer := self._ask.secret(question):
            self._answers[question] = answer
        return answer


def whoever_is_there() -> Ask:
    return Terminal() if sys.stdin.isatty() and sys.stderr.isatty() else Nobody()
