"""The way through the gate to standard output and error."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.core.management.base import OutputWrapper

from apps.ops.gate import as_json, drawn, shown, unfinished
from apps.ops.redact import Redactor


class Output(OutputWrapper):
    """What commands and presenters write to, without secrets."""

    def __init__(self, out: Any, redactor: Redactor | None = None) -> None:
        # What is behind another wrapper: a style must not come to a gate.
        super().__init__(vars(out)["_out"] if isinstance(out, OutputWrapper) else out)
        self._redactor = redactor

    @cached_property
    def redactor(self) -> Redactor:
        return self._redactor or Redactor.from_environment()

    def write(  # type: ignore[override]  # It is Django's, which stands in for a stream.
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """One line; a style is laid over it behind the gate."""
        line = shown(self.redactor.clean(msg.removesuffix("\n")))
        super().write(line, style_func, ending)

    def text(self, text: str) -> None:
        """What has several lines: each stays one. Of nothing, nothing is written."""
        for line in text.rstrip("\n").split("\n") if text else ():
            self.write(line)

    def json(self, value: Any, *, indent: int | None = None) -> None:
        super().write(as_json(self.redactor.clean_all(value), indent=indent))


class Relay:
    """What a command on a server writes, as it comes, to a terminal here. To anything else it is
    passed on whole: a pipe may want bytes.

    Args:
        descriptor: 1 or 2.
        lines: it comes from a program that writes lines; each is waited for.
    """

    # So much of what was shown can be the beginning of a secret that goes on.
    CONTEXT = 200

    def __init__(self, descriptor: int, *, lines: bool = False) -> None:
        self._descriptor = descriptor
        self._as_it_is = not (lines or os.isatty(descriptor))
        self._by_line = lines
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._redactor = Redactor.from_environment()
        self._held = self._before = ""

    def feed(self, data: bytes) -> None:
        if self._as_it_is:
            self._write(data)
            return
        text = self._held + self._decode(data)
        cut = text.rfind("\n") + 1 if self._by_line else unfinished(text)
        self._held = text[cut:]
        self._show(text[:cut])

    def end(self) -> None:
        self._show(self._held)
        self._held = ""

    def _show(self, text: str) -> None:
        said = self._redactor.clean_after(self._before, text)
        self._before = (self._before + text)[-self.CONTEXT :]
        self._write(drawn(said).encode(errors="replace"))

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
