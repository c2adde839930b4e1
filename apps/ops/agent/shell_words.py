"""What of a crontab's command only a shell would do, or only cron: there is neither here.

It would be handed to the program as it stands, and do something else or nothing, without a word.
"""

from __future__ import annotations

import re
import shutil

IN_A_SHELL = "or write all of it as sh -c '…'"
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""")
_SHELL = re.compile(r"(?:\S*/)?(?:ba|da|a|k|z)?sh\s+-\w*c\b")
_BUILTIN = re.compile(
    r"(?:source|\.|export|set|unset|umask|ulimit|eval|exec|alias|trap|if|for|while|until|case|!|\{)\s"
)
# What cron lets stand for five fields.
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PROGRAMS = ("manage.py", "python", "python3", "sh", "bash", "env", "nice", "timeout")


def instead_of_nickname(name: str) -> str:
    """What to write for a line that begins with "@"."""
    if fields := NICKNAMES.get(name):
        return f"{name} is written {fields} here"
    return f"{name} is not a time: a job has five fields, and what runs at a start is a service"


def needed(command: str) -> str:
    """What needs a shell or cron, and what to write in its place; "" when nothing does."""
    bare = _QUOTED.sub("_", command)
    is_shell = _SHELL.match(command) is not None
    expanded = "" if is_shell else _QUOTED.sub(_as_expanded, command)
    return (
        _first_word(command.split())
        or _expansion(expanded)
        or _operator(bare)
        or ("" if is_shell else _percent(command, bare))
    )


def _first_word(words: list[str]) -> str:
    first, second = [*words, ""][:2]
    if first == "cd":
        return (
            'there is no shell for "cd": jobs begin in the project\'s directory; leave it out, '
            f"{IN_A_SHELL}"
        )
    if _BUILTIN.match(f"{first} "):
        return f'"{first}" is a shell\'s own, and there is none: put it in a script, {IN_A_SHELL}'
    if re.match(r"\w+=", first):
        return f"no shell sets variables here: put env before {first.partition('=')[0]}=…"
    is_program = second in _PROGRAMS or second.startswith("/") or second.endswith((".sh", ".py"))
    if re.fullmatch(r"[a-z_][a-z0-9_-]*", first) and is_program and not shutil.which(first):
        return f'"{first}" is no program; if it is the user of a system\'s crontab, leave it out'
    return ""


def _expansion(expanded: str) -> str:
    if found := re.search(r"\$\(|`|\$\{?\w+", expanded):
        return (
            f'there is no shell for "{found[0]}": write what it stands for, {IN_A_SHELL}; in '
            "single quotes it stands for itself"
        )
    return ""


def _operator(bare: str) -> str:
    if found := re.search(r"\d?(?:>>|>&?|<<?)", bare):
        return (
            f'there is no shell for "{found[0]}": what a job writes is kept with its run; leave it '
            f"out, {IN_A_SHELL}"
        )
    if found := re.search(r"&&|\|\|?|;|&|\(|\)", bare):
        return (
            f'there is no shell for "{found[0]}": give each command a line, {IN_A_SHELL}; in '
            "quotes it stands for itself"
        )
    if found := re.search(r"\*|(?:^|\s)~", bare):
        return (
            f'there is no shell for "{found[0].strip()}": write the names in full, {IN_A_SHELL}; '
            "in quotes it stands for itself"
        )
    if re.search(r"(?:^|\s)#", bare):
        return 'a comment has a line of its own; in quotes "#" stands for itself'
    return ""


def _percent(command: str, bare: str) -> str:
    if "%" in bare:
        return (
            '"%" ends a command in cron, and what follows is its input; here it stands for itself: '
            f"put it in quotes if that is meant, {IN_A_SHELL}"
        )
    if any("\\%" in quoted for quoted in _QUOTED.findall(command) if quoted[0] in "'\""):
        return 'in quotes "\\%" keeps its backslash here: write "%"'
    return ""


def _as_expanded(quoted: re.Match[str]) -> str:
    """A shell looks for "$" in double quotes, too."""
    return re.sub(r"\\.", "_", quoted[0]) if quoted[0].startswith('"') else "_"
