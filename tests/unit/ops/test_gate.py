"""Nothing reaches a terminal or a log past the gate, and nothing hostile comes through it."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import pty
import re
import tty
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.errors import OpsError
from apps.ops.gate import as_json, shown
from apps.ops.management.base import OpsCommand
from apps.ops.output import Output, Relay
from apps.ops.presenters.styled import Screen
from apps.ops.redact import RedactingFormatter

ROOT = Path(__file__).parents[3]
# Whatever else there is in the tables of Unicode, these must not get through.
HOSTILE = [
    *map(chr, {*range(32), *range(127, 160)} - {9}),
    *"\xad\u061c\u180e\u200b\u200c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060",
    *"\u2061\u2066\u2067\u2068\u2069\u206f\u3164\ufeff\ufff9\U000e0041",
    "\ud800",
    "\udc80",
]
TEXT = st.text(st.one_of(st.sampled_from(HOSTILE), st.characters()))


def is_harmless(text: str) -> bool:
    return not any(c in text for c in HOSTILE)


@pytest.mark.parametrize("c", HOSTILE, ids=ascii)
def test_what_a_terminal_would_obey_is_written_out(c: str) -> None:
    assert shown(f"a{c}b") == "a" + c.encode("unicode_escape").decode() + "b"
    assert is_harmless(as_json([f"a{c}b"]))
    assert json.loads(as_json([f"a{c}b"])) == [f"a{c}b"]


@given(TEXT)
def test_whatever_is_said_is_one_harmless_line_that_can_be_encoded(text: str) -> None:
    out = io.StringIO()
    Output(out).write(f"a{text}b")

    assert out.getvalue().endswith("b\n")
    assert is_harmless(out.getvalue().removesuffix("\n"))
    out.getvalue().encode()


@given(TEXT)
def test_a_text_of_several_lines_keeps_them_and_nothing_else(text: str) -> None:
    out = io.StringIO()
    Output(out).text(f"a{text}b")

    assert out.getvalue().count("\n") == text.count("\n") + 1
    assert is_harmless(out.getvalue().replace("\n", ""))


@given(TEXT)
def test_a_screen_takes_no_text_for_a_command_or_for_markup(text: str) -> None:
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=True, no_color=True, width=10_000)
    screen.say("[bold]{}[/] [{}", f"a{text}b", "[red]c[/]")

    said = re.sub(r"\x1b\[[01]m", "", out.getvalue()).removesuffix("\n")
    assert is_harmless(said)
    assert said.endswith("b [[red]c[/]")


def test_our_own_style_comes_behind_the_gate() -> None:
    out = io.StringIO()
    Output(out).write("\x1b[31mred", lambda text: f"\x1b[1m{text}")

    assert out.getvalue() == "\x1b[1m\\x1b[31mred\n"


@pytest.mark.parametrize("at", ["message", "error", "name"])
def test_no_line_of_a_log_can_be_forged(at: str) -> None:
    forged = "x\n2026-11-23 12:00:00,000 INFO apps.ops.agent forged \x1b]0;title\x07 \u202e"
    error = None
    try:
        raise RuntimeError(forged if at == "error" else "why")
    except RuntimeError as raised:
        error = raised
    record = logging.LogRecord(
        *(forged if at == "name" else "site", logging.ERROR, "", 0),
        "%s ended",
        (forged if at == "message" else "job",),
        (RuntimeError, error, error.__traceback__),
    )
    first, *rest = RedactingFormatter("%(asctime)s %(name)s %(message)s").format(record).split("\n")

    assert is_harmless(first)
    assert all(line.startswith("  ") and is_harmless(line) for line in rest)


def relayed(chunks: list[str]) -> str:
    """What a terminal here gets of what a server's terminal was sent."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    try:
        relay = Relay(theirs)
        for chunk in chunks:
            relay.feed(chunk.encode(errors="surrogateescape"))
        relay.end()
        os.write(theirs, b"\0")
        said = b""
        while not said.endswith(b"\0"):
            said += os.read(ours, 4096)
        return said[:-1].decode()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        (["\x1b[1;31mred\x1b[0m\r\n"], "\x1b[1;31mred\x1b[0m\r\n"),
        (["\x1b[2K\x1b[1A\x1b[?25l…"], "\x1b[2K\x1b[1A\x1b[?25l…"),
        (["\x1b", "[31", "mred"], "\x1b[31mred"),
        (["\x1b]0;title\x07"], "\\x1b]0;title\\x07"),
        (["\x1b", "]52;c;eA==\x07"], "\\x1b]52;c;eA==\\x07"),
        (["\x1bP+q\x1b\\ \x9b31m \u202e"], "\\x1bP+q\\x1b\\ \\x9b31m \\u202e"),
        (["\x1b[?1049h\x1b[6n"], "\\x1b[?1049h\\x1b[6n"),
        (["ends in \x1b"], "ends in \\x1b"),
        (["it is tr0ub4-", "d0r-and-s0-0n."], "it is tr0ub4-•••."),
        (["it is tr0ub4-d0r", "-and-s0-0n."], "it is ••••••."),
    ],
)
def test_of_a_servers_terminal_only_what_we_draw_is_obeyed(
    chunks: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANY_SK", "tr0ub4-d0r-and-s0-0n")

    assert relayed(chunks) == said


class _Says(OpsCommand):
    requires_system_checks = []

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write("out\x1b[2J\nforged")
        self.tell(OpsError("found\nforged", next="next\x1b[2J", output="one\ntwo\x1b[2J"))


def test_a_commands_output_and_errors_go_through_the_gate() -> None:
    out, err = io.StringIO(), io.StringIO()
    _Says(out, err).execute(force_color=False, no_color=True, skip_checks=True)

    assert out.getvalue() == "out\\x1b[2J\\nforged\n"
    assert err.getvalue() == (
        "one\ntwo\\x1b[2J\nfound\\nforged\nTraffic is as it was.\nNext: next\\x1b[2J\n"
    )


def test_what_a_command_does_not_understand_goes_through_the_gate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        _Says().run_from_argv(["manage.py", "says", "--no\x1b[2J"])

    assert "--no\\x1b[2J" in capsys.readouterr().err


GATES = {"apps/ops/output.py", "apps/ops/presenters/styled.py"}
# What each of these may do, and why it tells nobody's words.
ALLOWED = {
    ("apps/ops/remote/asking.py", "sys.stderr"): "a password's prompt, shown by the gate",
    ("apps/ops/backups/confined.py", "sys.stdout"): "a pipe to the command that started it",
    ("apps/ops/backups/confined.py", "sys.stderr"): "a pipe to the command that started it",
    ("apps/ops/deploys/journal.py", "os.write"): "writes to a file",
    ("apps/ops/management/base.py", "sys.stdout"): "hands it to an Output",
    ("apps/ops/management/base.py", "sys.stderr"): "hands it to an Output",
}
STREAMS = ("os.write", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
# Nothing is written by asking a stream these, nor by handing it to these.
ASKED = {"isatty", "flush", "fileno"}
HANDED_TO = {"Output", "Terminal", "JsonLines", "Lines", "Pausable"}


def past_the_gate(path: str, tree: ast.AST) -> list[str]:
    """Where a module writes to a terminal otherwise than through the gate."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        parent = parents.get(node)
        if isinstance(node, ast.Name) and node.id == "print":
            found.append(f"{where} print")
        elif isinstance(node, ast.Attribute) and (name := ast.unparse(node)) in STREAMS:
            asked = isinstance(parent, ast.Attribute) and parent.attr in ASKED
            handed = isinstance(parent, ast.Call) and ast.unparse(parent.func) in HANDED_TO
            if not (asked or handed or (path, name) in ALLOWED):
                found.append(f"{where} {name}")
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            found += [f"{where} {a.name}" for a in node.names if f"sys.{a.name}" in STREAMS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
            made = {"Console", "Text", "escape", "print"} & {a.name for a in node.names}
            typed = made <= {"Console", "Text"} and is_only_typed(tree, made)
            if made and not typed:
                found.append(f"{where} rich's {', '.join(made)}")
        elif isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            if bases & {"BaseCommand", "LabelCommand", "AppCommand", "NoArgsCommand"}:
                found += [] if node.name == "OpsCommand" else [f"{where} {node.name}"]
    return found


def is_only_typed(tree: ast.AST, names: set[str]) -> bool:
    """No call makes one, nor is one's class method called."""
    calls = [
        ast.unparse(n.func).partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Call)
    ]
    return not names & set(calls)


MODULES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "apps/ops").rglob("*.py")
    if str(path.relative_to(ROOT)) not in GATES
)  # fmt: skip


def test_nothing_is_written_past_the_gate() -> None:
    assert len(MODULES) > 200
    assert [
        at for path in MODULES for at in past_the_gate(path, ast.parse((ROOT / path).read_text()))
    ] == []


@pytest.mark.parametrize(
    "code",
    [
        "print('x')",
        "say = print",
        "import sys\nsys.stdout.write('x')",
        "import sys\nout = sys.stderr",
        "import os\nos.write(1, b'x')",
        "from sys import stdout",
        "import sys\nprint_to(file=sys.stdout)",
        "from rich.console import Console\nConsole()",
        "from rich.text import Text\nText('x')",
        "from rich.text import Text\nText.from_markup('x')",
        "from rich import print",
        "from rich.markup import escape",
        "class Command(BaseCommand): ...",
    ],
)
def test_a_way_past_the_gate_is_found(code: str) -> None:
    assert past_the_gate("apps/ops/x.py", ast.parse(code))
