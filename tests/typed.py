"""A command as it is typed, in this process: for what needs no process of its own, which would take
a second of the processor to start Django."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

from django.core.management import ManagementUtility


@dataclass(frozen=True)
class Typed:
    returncode: int
    stdout: str
    stderr: str


def type_in(*words: str) -> Typed:
    """As `manage.py WORDS`; what is not caught there is not caught here either."""
    out, err = StringIO(), StringIO()
    code: object = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            ManagementUtility(["manage.py", *words]).execute()
        except SystemExit as ended:
            code = ended.code
    return Typed(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
