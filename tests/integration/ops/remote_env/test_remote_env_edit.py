"""`remote env edit`: the editor that there is, and what it leaves."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from apps.ops.errors import Cancelled, OpsError, Refused
from tests.integration.ops.remote_env.conftest import NEW, OLD, Laptop
from tests.servers import wait_until


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def editor(monkeypatch: pytest.MonkeyPatch, script: str, root: Path) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(program(root / "editor", script)))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left behind in this machine's directory for temporary files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield
    assert list(directory.iterdir()) == []


def test_an_edit_is_sent_and_its_file_removed(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    seen = laptop.root / "seen"
    script = (
        f'stat -c "%a %n" "$1" "$(dirname "$1")" >{seen}; sed -i s/OPS_BRANCH=main/DEBUG=1/ "$1"'
    )
    editor(monkeypatch, script, laptop.root)

    assert laptop.env("edit") == 0

    assert laptop.remote.read_text() == OLD.replace("OPS_BRANCH=main", "DEBUG=1")
    file, directory = (line.split(" ", 1) for line in seen.read_text().splitlines())
    assert (file[0], directory[0]) == ("600", "700")
    assert not Path(directory[1]).exists()


@pytest.mark.parametrize(
    ("script", "kind"), [("exit 1", Cancelled), ('echo slip-of-the-pen >>"$1"', Refused)]
)
def test_an_edit_that_may_not_be_sent_leaves_the_servers(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, script: str, kind: type[OpsError]
) -> None:
    laptop.remote.write_text(OLD)
    editor(monkeypatch, script, laptop.root)

    with pytest.raises(kind):
        laptop.env("edit", yes=False)

    assert laptop.remote.read_text() == OLD


def test_what_was_written_is_kept_when_it_cannot_be_sent(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    # Somebody else is quicker.
    editor(monkeypatch, f'cat >"$1" <<E\n{NEW}E\necho DEBUG=1 >>{laptop.remote}', laptop.root)

    with pytest.raises(Refused) as caught:
        laptop.env("edit")

    kept = laptop.root / ".env.production.edited"
    assert kept.read_text() == NEW
    assert kept.stat().st_mode & 0o777 == 0o600
    assert f"push --file {kept}" in caught.value.next
    assert laptop.remote.read_text() == f"{OLD}DEBUG=1\n"


def test_an_edit_without_a_change_sends_nothing(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    editor(monkeypatch, "true", laptop.root)

    assert laptop.env("edit") == 0

    assert not laptop.copies()


def only(monkeypatch: pytest.MonkeyPatch, root: Path, *names: str) -> None:
    """A machine that has these editors and no others; each adds its name to the file."""
    for name in names:
        program(root / "bin" / name, f'echo "# {name}" >>"$1"')
    (root / "bin").mkdir(exist_ok=True)
    for name in ("sh", "sync"):
        (root / "bin" / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(root / "bin"))
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("wished", "there", "opened"),
    [
        ({"VISUAL": "emacs -nw", "EDITOR": "ed"}, ("emacs", "ed", "nano", "vi"), "emacs"),
        ({"VISUAL": "", "EDITOR": "ed"}, ("ed", "nano", "vi"), "ed"),
        ({}, ("nano", "vi"), "nano"),
        ({}, ("vi",), "vi"),
    ],
)
def test_the_first_editor_that_is_there_is_opened(
    laptop: Laptop,
    monkeypatch: pytest.MonkeyPatch,
    wished: dict[str, str],
    there: tuple[str, ...],
    opened: str,
) -> None:
    laptop.remote.write_text(OLD)
    only(monkeypatch, laptop.root, *there)
    # With its options, the file comes last.
    program(laptop.root / "bin" / "emacs", 'test "$1" = -nw && echo "# emacs" >>"$2"')
    for name, value in wished.items():
        monkeypatch.setenv(name, value)

    assert laptop.env("edit") == 0

    assert laptop.remote.read_text() == f"{OLD}# {opened}\n"


def test_an_editor_that_is_not_there_is_said_and_another_one_opened(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.remote.write_text(OLD)
    only(monkeypatch, laptop.root, "nano")
    monkeypatch.setenv("EDITOR", "no-such-editor --wait")

    assert laptop.env("edit") == 0

    said = capsys.readouterr().out
    assert said.startswith("no-such-editor --wait is not to be had here: nano is opened.\n")


def test_without_any_editor_it_says_what_to_type(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    only(monkeypatch, laptop.root)
    monkeypatch.setenv("EDITOR", "no-such-editor")

    with pytest.raises(Refused, match="no editor here: no-such-editor, nano, vi") as caught:
        laptop.env("edit")

    assert caught.value.next == (
        "manage.py remote --server production env pull   # change .env.production, then: "
        "manage.py remote --server production env push"
    )


def test_line_endings_and_a_missing_last_one_stay_as_they_are(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = b"\xef\xbb\xbf" + OLD.replace("\n", "\r\n").strip().encode()
    laptop.remote.write_bytes(windows)
    editor(monkeypatch, "true", laptop.root)

    assert laptop.env("edit") == 0
    assert laptop.copies() == []

    editor(monkeypatch, 'sed -i s/=main/=next/ "$1"', laptop.root)
    assert laptop.env("edit") == 0
    assert laptop.remote.read_bytes() == windows.replace(b"=main", b"=next")


def test_an_editor_that_removes_the_file_changes_nothing(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.remote.write_text(OLD)
    editor(monkeypatch, 'rm "$1"', laptop.root)

    with pytest.raises(Refused, match="removed the file"):
        laptop.env("edit", yes=False)

    assert laptop.remote.read_text() == OLD


def test_ctrl_c_belongs_to_the_editor(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop.remote.write_text(OLD)
    # It gets the signal as we do, heeds it as editors do, and goes on.
    script = f'trap : INT; kill -INT $$ {os.getpid()}; sleep 0.2; sed -i s/=main/=next/ "$1"'
    editor(monkeypatch, script, laptop.root)

    assert laptop.env("edit") == 0

    assert laptop.remote.read_text() == OLD.replace("=main", "=next")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_is_closed_leaves_nothing_behind(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    laptop.remote.write_text(OLD)
    begun = laptop.root / "begun"
    editor(monkeypatch, f'touch {begun}; sed -i s/=main/=next/ "$1"; exec sleep 600', laptop.root)

    def close() -> None:
        wait_until(begun.exists)
        os.kill(os.getpid(), number)

    timer = Timer(0.0, close)
    timer.start()
    with pytest.raises(Cancelled, match=f"Cancelled .{number.name}.") as caught:
        laptop.env("edit")
    timer.join()

    assert "Nothing was changed on the server" in caught.value.traffic
    assert laptop.remote.read_text() == OLD
