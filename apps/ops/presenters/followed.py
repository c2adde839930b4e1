"""What a command on a server writes, shown here: a deployment's events as they would be there, all
else as it is."""

from __future__ import annotations

import json
import sys

from apps.ops.deploys.events import Listener
from apps.ops.output import Output
from apps.ops.presenters.lines import Lines
from apps.ops.presenters.replay import Pausable, exit_code, replay
from apps.ops.redact import Redactor
from apps.ops.remote.commands import Words


class Followed:
    """Args:
    words: the command; its options say how it is shown.

    Attributes:
        exit_code: what its last event said that it ends with; None as long as it said nothing.
    """

    def __init__(self, words: Words) -> None:
        self.exit_code: int | None = None
        self._is_eventful = words.is_eventful
        self._listener: Listener | None = None
        self._live: Pausable | None = None
        self._redactor = Redactor.from_environment()
        if words.is_json or not words.is_eventful:
            return
        if (sys.stdout.isatty() or words.force_color) and words.verbosity == 1:
            self._live = Pausable(sys.stdout, color=not words.no_color, kind=words.command)
        self._listener = self._live or Lines(
            sys.stdout, verbosity=words.verbosity, kind=words.command
        )

    def stdout(self, line: bytes) -> None:
        if self._is_eventful and b'"ended"' in line:
            self.exit_code = exit_code(line)
        if self._listener is None:
            self._pass_on(line)
        elif not replay(line.decode(errors="replace"), self._listener):
            Output(sys.stdout, self._redactor).write(line.decode(errors="replace"))
        sys.stdout.flush()

    def _pass_on(self, line: bytes) -> None:
        """What is for machines, as it came, when it is JSON."""
        text = line.decode(errors="replace")
        try:
            Output(sys.stdout, self._redactor).json(json.loads(text))
        except ValueError:
            Output(sys.stdout, self._redactor).write(text)

    def stderr(self, line: bytes) -> None:
        # Not to the file behind it: live progress moves down for what goes to sys.stderr.
        Output(sys.stderr, self._redactor).write(line.decode(errors="replace"))
        sys.stderr.flush()

    def pause(self) -> bool:
        """Whether there was live progress, which is hidden now."""
        return self._live is not None and self._live.pause()

    def resume(self) -> None:
        if self._live:
            self._live.resume()
