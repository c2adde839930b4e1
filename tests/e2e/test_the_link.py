"""Deployed from a laptop, while visitors come: the link is cut, the client dies, the cable is
pulled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import RATE, Scene
from tests.rig.cut_round import (
    BROKEN,
    CLOSED,
    FOUND_SECONDS,
    GOOD,
    HUNG_SECONDS,
    KILLED,
    RESET,
    SLACK_SECONDS,
    Cut,
    Plan,
    break_site,
    cut_round,
)
from tests.rig.laptop import Client, Laptop
from tests.rig.sshd import Sshd, make_key
from tests.rig.stack import ScratchStack, run
from tests.rig.witness import Witness, difference, shown_as
from tests.servers import wait_until


@pytest.fixture(scope="module")
def laptop(stack: ScratchStack) -> Iterator[Laptop]:
    laptop = Laptop(stack.site)
    yield laptop
    laptop.close()


def test_a_link_that_is_cut_and_a_client_that_is_killed_cost_the_deployment_nothing(
    stack: ScratchStack, laptop: Laptop
) -> None:
    release = stack.commit("Over a bad link", same_site)
    cuts = [Cut(0.0, CLOSED, "fetch"), Cut(0.0, RESET, "backup"), Cut(0.0, KILLED, "start")]

    row = cut_round(stack, laptop, Plan(GOOD, cuts=cuts), release, rate=RATE)

    assert row.lost == []
    assert row.made == [CLOSED, RESET, KILLED]
    assert (row.status, row.code) == ("succeeded", 0)


def test_a_release_that_fails_is_undone_and_said_to_whoever_comes_back(
    stack: ScratchStack, laptop: Laptop
) -> None:
    stack.commit("It answers 500", break_site, branch="broken")
    plan = Plan(BROKEN, as_json=False, cuts=[Cut(0.0, KILLED, "start")])

    row = cut_round(stack, laptop, plan, "broken", rate=RATE)

    assert row.lost == []
    assert (row.made, row.status, row.code) == ([KILLED], "failed", 1)


def test_a_rollback_from_a_laptop_is_seen_in_the_status_from_there(
    scene: Scene, laptop: Laptop
) -> None:
    rollback = laptop.begin("rollback", "--format", "json")
    code = rollback.wait(HUNG_SECONDS)
    asked = laptop.begin("status", "--format", "json")

    assert (code, asked.wait(HUNG_SECONDS)) == (0, 0), rollback.err
    status = json.loads(asked.out)
    assert status["problems"] == []
    assert status["live"] != scene.before["live"]
    newest = status["deployments"][0]
    assert (newest["kind"], newest["requested_by"]) == ("rollback", "ada@laptop")


def same_site(_project: Path) -> None:
    """A release of its own, with files that are built already."""


class Cable:
    """A network of its own between a laptop, which is a container, and a server."""

    def __init__(self, stack: ScratchStack) -> None:
        self._stack = stack
        self.name = f"{stack.project}-cable"
        run(["docker", "network", "create", self.name])
        form = "{{(index .IPAM.Config 0).Gateway}}"
        found = run(["docker", "network", "inspect", "--format", form, self.name]).output.strip()
        self._home = stack.root / "laptop"
        self._sshd = Sshd(address=found).allow(make_key(self._home / ".ssh" / "id_ed25519")).start()
        (self._home / ".ssh" / "known_hosts").write_text(self._sshd.known_hosts_line())

    def begin(self, *arguments: str) -> Client:
        """`manage.py remote ARGUMENTS` at its other end."""
        environment = {
            "HOME": str(self._home),
            "SECRET_KEY": "laptop-only",
            "OPS_SERVERS": f"here={self._sshd.address}:{self._sshd.port}{self._stack.site}",
        }
        return Client(
            [
                *("docker", "run", "--rm", "--init", "--name", self.name, "--network", self.name),
                *("--volume", f"{self._home}:{self._home}:ro"),
                *(
                    part
                    for name, value in environment.items()
                    for part in ("-e", f"{name}={value}")
                ),
                *(f"{self._stack.project}:utility", "python", "manage.py", "remote", *arguments),
            ],
            dict(os.environ),
        )

    def pull(self) -> None:
        run(["docker", "network", "disconnect", self.name, self.name])

    def plug_in(self) -> None:
        run(["docker", "network", "connect", self.name, self.name])

    def destroy(self) -> None:
        run(["docker", "rm", "--force", self.name], check=False)
        run(["docker", "network", "rm", self.name], check=False)
        self._sshd.destroy()


@pytest.fixture
def cable(stack: ScratchStack) -> Iterator[Cable]:
    cable = Cable(stack)
    yield cable
    cable.destroy()


def test_a_cable_that_is_pulled_is_found_out_and_all_is_shown_when_it_is_back(
    stack: ScratchStack, scene: Scene, cable: Cable
) -> None:
    witness = Witness(stack.site)
    client = cable.begin("deploy", stack.commit("By cable", same_site), "--format", "json")
    wait_until(lambda: b"step_started" in client.out or client.ended, HUNG_SECONDS)

    cable.pull()
    found = client.wait_until_lost(before=0, seconds=FOUND_SECONDS + SLACK_SECONDS)
    cable.plug_in()

    assert found is not None, client.err
    assert client.wait(HUNG_SECONDS) == 0, client.err
    witness.finish(HUNG_SECONDS)
    assert difference(shown_as(witness.out, as_json=True), client.out.decode().splitlines()) == ""
    assert b"Connected again." in client.err
    assert not witness.is_there
