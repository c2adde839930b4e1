"""The way through provisioning's steps: look; then say what would be done, or do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.ops.errors import Refused, StepFailed
from apps.ops.provision.machine import Machine
from apps.ops.provision.plan import Tally, walk
from apps.ops.provision.steps.base import Found, Step, Wish
from apps.ops.remote.servers import Server
from tests.integration.ops.provisioned_server import SshServer

WISH = Wish(
    project=Path("/nowhere"),
    repository="git@forge.example.org:you/site.git",
    branch="main",
    known_hosts=(),
    site_host="www.example.org",
    requested_by="ada@laptop",
    own_keys={},
)


@pytest.fixture
def machine(ssh_server: SshServer, tmp_path: Path) -> Iterator[Machine]:
    server = Server("production", "root", "127.0.0.1", ssh_server.port, str(tmp_path / "site"))
    with ssh_server.connect(server) as connection:
        yield ssh_server.machine(connection, server, "root")


class Mark(Step):
    name = "mark"

    def look(self) -> Found:
        return Found(self.machine.has(f"{self.machine.directory}.mark"), "a mark")

    def act(self) -> str:
        self.machine.root(["mkdir", "-p", f"{self.machine.directory}.mark"])
        return "Marked."


class Surprise(Mark):
    name = "surprise"

    def look(self) -> Found:
        raise Refused("Nobody thought of this.", next="think")


class Vain(Mark):
    name = "vain"

    def look(self) -> Found:
        return Found(False, "it is not there")


class Failing(Mark):
    def act(self) -> str:
        self.machine.root(["sh", "-c", "echo No room. >&2; exit 3"])
        return "Never."


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    steps, said = [Mark(machine, WISH)], list[str]()

    assert walk(steps, only_look=False, say=said.append) == Tally(there=0, done=1)
    assert walk(steps, only_look=False, say=said.append) == Tally(there=1, done=0)
    assert "there" in said[-1]


def test_a_plan_does_nothing(machine: Machine) -> None:
    said: list[str] = []

    assert walk([Mark(machine, WISH)], only_look=True, say=said.append) == Tally(there=0, done=1)

    assert "will do" in said[-1]
    assert not Mark(machine, WISH).look().there


def test_it_stops_at_the_first_surprise(machine: Machine) -> None:
    with pytest.raises(Refused) as caught:
        walk([Surprise(machine, WISH), Mark(machine, WISH)], only_look=False, say=print)

    assert caught.value.found == "surprise: Nobody thought of this."
    assert caught.value.exit_code == 5
    assert not Mark(machine, WISH).look().there


def test_a_step_that_did_not_do_it_is_not_believed(machine: Machine) -> None:
    with pytest.raises(StepFailed, match="it is not there"):
        walk([Vain(machine, WISH)], only_look=False, say=print)


def test_a_step_that_fails_says_what_the_server_said_and_what_is_next(machine: Machine) -> None:
    with pytest.raises(StepFailed) as caught:
        walk([Failing(machine, WISH)], only_look=False, say=print)

    assert caught.value.found.startswith("mark: `sh -c ")
    assert caught.value.found.endswith("ended with exit code 3 on 127.0.0.1.")
    assert caught.value.output == "No room."
    assert caught.value.next.endswith("then the same command again.")
