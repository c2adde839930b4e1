"""What Docker says a container was created with, and what Compose would give it now."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.ops.colors import Color
from apps.ops.deploys.environment import with_changes
from apps.ops.deploys.plan import Plan
from apps.ops.dotenv import Changes
from apps.ops.source import Commit
from apps.ops.stack.compose import Compose
from apps.ops.stack.engine import Engine
from tests.integration.ops.remote_site import IMAGE

COMMIT = Commit("b" * 40, "Ada", datetime.now(UTC), "Say hello")
# Everything that Compose reads in a way of its own.
DOTENV = """\
DOLLARS='a$b$$c'
ESCAPED="d\\$e"
DOUBLED=f$$g
LINES="one
two"
EMPTY=
export EXPORTED=1 # why
"""


@dataclass
class Stack:
    compose: Compose
    engine: Engine
    dotenv: Path

    def changes(self, *, is_warm: bool = False) -> Changes | None:
        plan = Plan(COMMIT, Color.BLUE, "a" * 40)
        found = with_changes(
            plan,
            engine=self.engine,
            compose=lambda release: self.compose,
            directory=self.dotenv.parent / "secrets",
            is_warm=is_warm,
        )
        return found.environment


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    project = f"changeover-environment-{secrets.token_hex(4)}"
    common = {
        "image": IMAGE,
        "pull_policy": "never",
        "command": ["sleep", "600"],
        "init": True,
        "network_mode": "none",
        "env_file": ".env",
    }
    colors = {
        name: {**common, "environment": {"COLOR": color, "PRICE": "$$5", "UNSET": None}}
        for name, color in (("django-a", "blue"), ("django-b", "green"))
    }
    file = tmp_path / "compose.yml"
    file.write_text(json.dumps({"services": colors}))
    dotenv = tmp_path / ".env"
    dotenv.write_text(DOTENV)
    stack = Stack(Compose(project, tmp_path, (file,)), Engine(project), dotenv)
    try:
        stack.compose.ensure(["django-a"], say=print)
        yield stack
    finally:
        for service in ("django-a", "django-b"):
            stack.engine.remove(service, seconds=0)


def test_the_same_file_is_no_change_however_compose_reads_it(stack: Stack) -> None:
    assert stack.changes() == Changes((), (), ())


def test_names_are_told_that_differ_from_what_the_live_container_was_created_with(
    stack: Stack,
) -> None:
    stack.dotenv.write_text(DOTENV.replace("EMPTY=\n", "").replace("two", "three") + "NEW=x\n")

    assert stack.changes() == Changes(added=("NEW",), removed=("EMPTY",), changed=("LINES",))


def test_a_warm_standby_goes_back_to_what_it_was_created_with(stack: Stack) -> None:
    stack.dotenv.write_text(DOTENV + "NEW=x\n")
    stack.compose.ensure(["django-b"], say=print)
    stack.dotenv.write_text("LATER=y\n")

    assert stack.changes(is_warm=True) == Changes(added=("NEW",), removed=(), changed=())


def test_files_that_compose_cannot_read_are_left_to_preflight(stack: Stack) -> None:
    stack.dotenv.write_text("BROKEN=${\n")

    assert stack.changes() is None


def test_a_first_deployment_has_nothing_to_compare_with(stack: Stack) -> None:
    stack.engine.remove("django-a", seconds=0)

    assert stack.changes() is None
