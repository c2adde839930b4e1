"""What is built of a commit, with real git: all that it holds, or it is refused."""

from __future__ import annotations

import random
import tarfile

import pytest

from apps.ops.errors import Refused, StepFailed
from apps.ops.source import Checkout
from tests.conftest import Git
from tests.integration.ops.conftest import bring, built
from tests.servers import HUNG_SECONDS

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 132\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (POINTER, "Git LFS pointers"),
        ("/annex/objects/SHA256E-s5--abc.png\n", "pointers of git-annex"),
        ("\0GITCRYPT\0…", "encrypted by git-crypt"),
    ],
)
def test_what_only_points_to_its_content_is_refused_by_name(
    git: Git, checkout: Checkout, content: str, what: str
) -> None:
    sha = git.push("Pointer", {"static/Größe 1.png": content, "b.png": content, "c": "plain"})

    git.on_server("config", "color.ui", "always")
    with pytest.raises(Refused) as caught:
        bring(checkout, sha)

    assert caught.value.found.startswith(f"b.png, static/Größe 1.png in {sha[:12]}: {what}, not")


def test_a_link_into_the_annex_is_refused_and_a_page_about_pointers_is_not(
    git: Git, checkout: Checkout
) -> None:
    about = git.push("About", {"docs/lfs.md": f"A pointer:\n\n{POINTER}{'And so on. ' * 99}"})
    (git.clone / "logo.png").symlink_to(".git/annex/objects/aa/bb/SHA256E-s5--abc.png")
    linked = git.push("Linked")

    bring(checkout, about)
    with pytest.raises(Refused, match=r"logo.png in .*: pointers of git-annex"):
        bring(checkout, linked)


def test_what_is_built_is_what_a_checkout_has(git: Git, checkout: Checkout) -> None:
    attributes = "left-out export-ignore\nsubst export-subst\n* filter=lfs\n*.bat eol=crlf\n"
    files = {
        ".gitattributes": attributes,
        "left-out": "x",
        "subst": "$Format:%H$",
        "x.bat": "x\n",
        "Größe/日本 1": "x",
        "line\nbreak": "x",
        '"quoted"': "x",
        " ": "x",
        "-x": "x",
        "a/migrations/0001_é.py": "x",
    }
    (git.clone / "link").symlink_to("Größe")
    sha = git.push("Odd", files)
    git.on_server("config", "filter.lfs.smudge", "not-there")
    git.on_server("config", "filter.lfs.required", "true")
    bring(checkout, sha)

    expected = {"README": b"one\n", "link": b""} | {k: v.encode() for k, v in files.items()}
    assert built(checkout, sha) == expected | {"x.bat": b"x\r\n"}
    assert sorted(checkout.files(sha)) == sorted(expected)


def test_changed_files_are_named_as_they_are(git: Git, checkout: Checkout) -> None:
    names = ["Größe 1", "a b", "line\nbreak", "日本"]
    checkout.move_to(pushed(git, checkout, dict.fromkeys(names, "x")))
    for name in names:
        (git.checkout / name).write_text("changed")

    assert sorted(checkout.changed_files()) == ["'line\\nbreak'", "Größe 1", "a b", "日本"]


def pushed(git: Git, checkout: Checkout, files: dict[str, str]) -> str:
    sha = git.push("Files", files)
    checkout.fetch(seconds=HUNG_SECONDS, say=print)
    return sha


def test_more_files_than_a_program_may_say_lines_are_all_there(
    git: Git, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.processes.MAX_OUTPUT", 10)
    sha = pushed(git, checkout, {f"file-{n}": "x" for n in range(20)})

    assert len(checkout.files(sha)) == 21


@pytest.mark.parametrize("kept", [0, 90_000])
def test_a_damaged_file_is_gits_to_say_and_not_the_builds(
    git: Git, checkout: Checkout, kept: int
) -> None:
    sha = pushed(git, checkout, {"big": random.Random(1).randbytes(200_000).hex()})
    blob = git.on_server("rev-parse", f"{sha}:big")
    broken = git.checkout / ".git/objects" / blob[:2] / blob[2:]
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:kept] or b"no")

    def build() -> None:
        with checkout.archive(sha) as stream:
            stream.read()
            raise StepFailed("The image did not build")

    with pytest.raises(StepFailed, match=r"git c(annot|ould not) read") as caught:
        build()
    assert "fsck" in caught.value.next


def test_a_part_of_an_archive_is_what_lies_there(git: Git, checkout: Checkout) -> None:
    sha = pushed(git, checkout, {"docker/caddy/Caddyfile": "x", "docker/other": "x"})

    with (
        checkout.archive(sha, "docker/caddy") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        assert [m.name for m in tar if m.isfile()] == ["docker/caddy/Caddyfile"]
