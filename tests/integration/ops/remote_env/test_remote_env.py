"""`remote env` against a real sshd: atomic, private, checked first, and no value is ever shown."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from apps.ops.errors import Cancelled, Refused, StepFailed
from apps.ops.remote.server_file import ServerFile
from apps.ops.remote.servers import Server
from tests.integration.ops.provisioned_server import SshServer
from tests.integration.ops.remote_env.conftest import NEW, OLD, SECRETS, Laptop


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_push_writes_it_privately_and_keeps_the_old_one(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)
    laptop.remote.chmod(0o644)

    assert laptop.env("push") == 0

    assert laptop.remote.read_text() == NEW
    assert mode(laptop.remote) == 0o600
    (copy,) = laptop.copies()
    assert copy.read_text() == OLD
    assert mode(copy) == 0o600
    assert {path.name for path in laptop.remote.parent.iterdir()} == {".env", copy.name}


def test_a_push_tells_names_and_what_is_easily_forgotten(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)

    laptop.env("push")

    said = capsys.readouterr().out
    assert said.startswith("+ DEBUG\n- OPS_BRANCH\n~ SECRET_KEY\n")
    assert "SECRET_KEY_FALLBACKS" in said


def test_the_first_push_makes_the_file(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)

    assert laptop.env("push") == 0

    assert laptop.remote.read_text() == NEW
    assert not laptop.copies()


def test_pushing_the_same_again_sends_nothing(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.local.write_text(NEW)
    laptop.env("push")
    before = laptop.remote.stat().st_ino

    assert laptop.env("push") == 0

    assert laptop.remote.stat().st_ino == before
    assert "nothing was sent" in capsys.readouterr().out


def test_a_no_sends_nothing(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.write_text(OLD)

    with pytest.raises(Cancelled) as caught:
        laptop.env("push", yes=False)

    assert caught.value.exit_code == 130
    assert laptop.remote.read_text() == OLD


def test_without_input_nobody_is_asked(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)

    assert laptop.env("push", yes=False, interactive=False) == 0

    assert laptop.remote.read_text() == NEW


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SECRET_KEY=\nPOSTGRES_PASSWORD=pass-word-one\n", "requires SECRET_KEY"),
        (NEW + "SIET_HOST=slip-of-the-pen\n", "does not have SIET_HOST"),
        (NEW + "slip-of-the-pen\n", "no value: 4"),
        (NEW + "OPS_SERVERS=here=127.0.0.1/srv\n", "OPS_SERVERS is for your own machine"),
    ],
)
def test_what_the_example_does_not_allow_is_not_sent(laptop: Laptop, text: str, found: str) -> None:
    laptop.local.write_text(text)
    laptop.remote.write_text(OLD)

    with pytest.raises(Refused) as caught:
        laptop.env("push")

    assert found in caught.value.found
    assert not any(secret in caught.value.found for secret in SECRETS)
    assert "traffic is as it was" in caught.value.traffic
    assert laptop.remote.read_text() == OLD


def test_an_unknown_name_can_be_sent_knowingly(laptop: Laptop) -> None:
    laptop.local.write_text(NEW + "OWN=1\n")

    assert laptop.env("push", allow_unknown=True) == 0


def test_a_push_without_a_file_says_what_to_type(laptop: Laptop) -> None:
    with pytest.raises(Refused, match=r"There is no .*/\.env\.production") as caught:
        laptop.env("push")

    assert caught.value.next.startswith("manage.py remote --server production env pull")


def test_a_push_to_no_directory_points_to_provision(laptop: Laptop) -> None:
    laptop.local.write_text(NEW)
    laptop.remote.parent.rmdir()

    with pytest.raises(Refused) as caught:
        laptop.env("push")

    assert caught.value.next == "manage.py provision --server production"


def test_a_change_by_somebody_else_meanwhile_is_not_lost(
    laptop: Laptop, ssh_server: SshServer
) -> None:
    laptop.remote.write_text(OLD)
    server = Server("production", None, "127.0.0.1", ssh_server.port, str(laptop.remote.parent))

    with ssh_server.connect(server) as connection, pytest.raises(Refused, match="meanwhile"):
        ServerFile(connection, str(laptop.remote)).replace(NEW, expected="SECRET_KEY=theirs\n")

    assert laptop.remote.read_text() == OLD
    assert [path.name for path in laptop.remote.parent.iterdir()] == [".env"]


def test_a_link_stays_a_link(laptop: Laptop) -> None:
    target = laptop.root.parent / "secrets.env"
    target.write_text(OLD)
    laptop.remote.symlink_to(target)
    laptop.local.write_text(NEW)

    laptop.env("push")

    assert laptop.remote.is_symlink()
    assert target.read_text() == NEW


def test_a_server_that_takes_no_more_keeps_the_old_one(laptop: Laptop) -> None:
    full = SshServer(largest_file=65536)
    server = Server("production", None, "127.0.0.1", full.port, str(laptop.remote.parent))
    laptop.remote.write_text(OLD)
    try:
        with full.connect(server) as connection, pytest.raises(StepFailed) as caught:
            ServerFile(connection, str(laptop.remote)).replace(NEW + "#" * 100_000, expected=OLD)
    finally:
        full.destroy()

    assert "df -h" in caught.value.next
    assert laptop.remote.read_text() == OLD
    assert [path.name for path in laptop.remote.parent.iterdir()] == [".env"]


def test_a_pull_writes_privately_and_keeps_what_was_there(laptop: Laptop) -> None:
    laptop.remote.write_text(OLD)
    laptop.local.write_text(NEW)

    assert laptop.env("pull") == 0

    assert laptop.local.read_text() == OLD
    assert mode(laptop.local) == 0o600
    (copy,) = laptop.root.glob(".env.production.before-*")
    assert copy.read_text() == NEW
    assert mode(copy) == 0o600


def test_a_pull_of_nothing_is_refused(laptop: Laptop) -> None:
    with pytest.raises(Refused, match=r"has no .*/\.env"):
        laptop.env("pull")


def test_a_diff_tells_names_and_its_exit_code(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.remote.write_text(OLD)
    laptop.local.write_text(NEW)

    assert laptop.env("diff") == 1
    assert re.match(r"\+ DEBUG\n- OPS_BRANCH\n~ SECRET_KEY\n", capsys.readouterr().out)

    laptop.local.write_text("# a comment\n" + OLD)
    assert laptop.env("diff") == 0
