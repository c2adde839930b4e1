"""The user's ssh_config means here what it means to OpenSSH."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path

import pytest

from apps.ops.remote.ssh_config import look_up
from tests.servers import HUNG_SECONDS


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


@pytest.mark.parametrize("host", ["site", "other"])
@pytest.mark.parametrize(
    ("text", "included"),
    [
        ("Include {more}\nUser bob\nPort 2222\n", "Host site\n  Port 23\n"),
        ("Host site\n  Include {more}\n  User bob\nHost *\n  Port 24\n", "Port 23\n"),
        ("Host site\n  Include {more}\n  User bob\n", "Host *\n  User ann\n  Port 25\n"),
    ],
)
def test_lines_behind_an_include_are_for_whom_they_were_for(
    config: Path, host: str, text: str, included: str
) -> None:
    more = config.with_name("more")
    more.write_text(included)
    config.write_text(text.format(more=more))

    said = subprocess.run(
        ["ssh", "-G", "-F", str(config), host],
        capture_output=True,
        text=True,
        timeout=HUNG_SECONDS,
        check=True,
    ).stdout
    theirs = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    ours = look_up(host)

    assert str(ours.port) == theirs["port"]
    assert (ours.user or getpass.getuser()) == theirs["user"]
