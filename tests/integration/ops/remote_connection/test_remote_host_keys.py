"""Is it the server it was last time?"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from apps.ops.remote.asking import Nobody
from apps.ops.remote.connection import connect
from apps.ops.remote.failures import (
    HostKeyRefused,
)
from tests.integration.ops.remote_connection.conftest import Answers, at, link
from tests.rig.sshd import Sshd
from tests.servers import HUNG_SECONDS


def test_an_unknown_host_is_shown_asked_about_and_recorded(sshd: Sshd, home: Path) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text("# mine, without a newline")
    ask, heard = Answers(yes_to_all=True), list[str]()
    connect(at(sshd.port), ask=ask, say=heard.append).close()
    assert sshd.fingerprint in heard[0]
    assert known_hosts.read_text() == f"# mine, without a newline\n{sshd.known_hosts_line()}"
    link(sshd).close()  # Without anybody to ask.


@pytest.mark.parametrize("ask", [Nobody(), Answers()])
def test_an_unknown_host_that_is_not_accepted_gets_nothing(
    sshd: Sshd, home: Path, ask: Answers | Nobody
) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    with pytest.raises(HostKeyRefused, match=r"unknown and was not accepted\. Nothing was sent"):
        link(sshd, ask)
    assert not (home / ".ssh" / "known_hosts").exists()


def test_a_changed_host_key_is_refused_with_the_line_that_has_the_old_one(
    sshd: Sshd, home: Path
) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text(f"# comment\n\n{sshd.known_hosts_line()}")
    was = sshd.fingerprint
    sshd.change_host_key()
    with pytest.raises(HostKeyRefused, match="HAS CHANGED") as refused:
        link(sshd, Answers(yes_to_all=True))
    assert sshd.fingerprint in refused.value.found
    assert refused.value.output == f"{known_hosts}, line 3: ed25519 {was}"
    assert refused.value.next.startswith(f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'")


def test_a_hashed_name_is_recognized(sshd: Sshd, home: Path) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    argv = ["ssh-keygen", "-H", "-f", str(known_hosts)]
    subprocess.run(argv, check=True, capture_output=True, timeout=HUNG_SECONDS)
    assert "127.0.0.1" not in known_hosts.read_text()
    link(sshd).close()


def test_a_revoked_host_key_is_refused(sshd: Sshd, home: Path) -> None:
    line = sshd.known_hosts_line()
    (home / ".ssh" / "known_hosts").write_text(f"{line}@revoked * {line.split(' ', 1)[1]}")
    with pytest.raises(HostKeyRefused, match=r"revoked: .*line 2"):
        link(sshd, Answers(yes_to_all=True))


def test_a_known_hosts_that_cannot_be_read_refuses(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    (home / ".ssh" / "known_hosts").mkdir()
    with pytest.raises(HostKeyRefused, match="cannot be read"):
        link(sshd)
