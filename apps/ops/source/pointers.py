"""Files of a commit that are not their content, and only say where it is."""

from __future__ import annotations

from itertools import pairwise

from apps.ops.processes import ProgramFailed
from apps.ops.source.store import Entry, Store

_BIGGEST_POINTER = 1024
_LFS = (
    r"^version https://git-lfs\.github\.com/spec/v1$",
    r"^oid sha256:[0-9a-f]{64}$",
    r"^size \d+$",
)
_ANNEX = (r"^/annex/objects/\S+$",)
_CRYPT = (r"^\x00GITCRYPT\x00",)
_ANNEXED = "annex/objects/"


def pointers(store: Store, tree: str) -> list[tuple[str, list[str], str]]:
    """What points to content elsewhere: what it is, the files, and how to fix it."""
    entries = store.entries(tree)
    small = {e.path for e in entries if e.size <= _BIGGEST_POINTER and not e.is_link}
    anything = {e.path for e in entries}
    annexed = [*_with_lines(store, tree, _ANNEX, small), *_links_to(store, _ANNEXED, entries)]
    found = (
        (
            "Git LFS pointers",
            _with_lines(store, tree, _LFS, small),
            "git lfs untrack FILE && git add --renormalize . && git commit",
        ),
        ("pointers of git-annex", annexed, "git annex unannex FILE && git add FILE"),
        (
            "encrypted by git-crypt",
            _with_lines(store, tree, _CRYPT, anything),
            "take the filter out of .gitattributes && git add --renormalize .",
        ),
    )
    return [(what, files, advice) for what, files, advice in found if files]


def _with_lines(store: Store, tree: str, lines: tuple[str, ...], among: set[str]) -> list[str]:
    patterns = [word for line in lines for word in ("-e", line)]
    options = ("-P", "-a", "-l", "-z", "--all-match", "--no-recurse-submodules", "--no-color")
    try:
        found = store.run("grep", *options, *patterns, tree)
    except ProgramFailed as error:
        if error.code != 1:
            raise
        return []
    # Each is named as "tree:path".
    names = (name.partition(":")[2] for name in found.split("\0"))
    return [name for name in names if name in among]


def _links_to(store: Store, part: str, entries: list[Entry]) -> list[str]:
    links = [entry for entry in entries if entry.is_link]
    if not links:
        return []
    asked = "".join(f"{link.oid}\n" for link in links)
    said = store.run("cat-file", "--batch=%(objectname)", given=asked).split("\n")
    leading = {oid for oid, target in pairwise(said) if part in target}
    return [link.path for link in links if link.oid in leading]
