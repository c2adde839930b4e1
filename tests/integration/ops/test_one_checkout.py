"""Who may deploy: the directory that the containers were made in."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import docker
from apps.ops.conf import OpsSettings
from apps.ops.deploys import operations
from apps.ops.deploys.context import Options
from apps.ops.deploys.events import Listener
from apps.ops.deploys.one_checkout import require_it
from apps.ops.errors import Refused
from apps.ops.stack.engine import Engine
from tests.integration.ops.small_project import IMAGE

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Deployed = Callable[[Path], None]


@pytest.fixture
def settings_of(ops_settings: OpsSettingsFactory) -> Callable[[Path], OpsSettings]:
    project = f"h-checkout-{secrets.token_hex(4)}"

    def of(checkout: Path) -> OpsSettings:
        checkout.mkdir(exist_ok=True)
        made = ops_settings(project=project, checkout=checkout)
        made.state_dir.mkdir(exist_ok=True)
        return made

    return of


@pytest.fixture
def deployed(settings_of: Callable[[Path], OpsSettings], tmp_path: Path) -> Iterator[Deployed]:
    """As a deployment from there leaves it; nothing runs."""
    client = docker.from_env()
    made = []

    def deploy(checkout: Path) -> None:
        settings = settings_of(checkout)
        labels = {
            "com.docker.compose.project": settings.project,
            "com.docker.compose.service": "django-a",
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.project.working_dir": str(checkout),
        }
        require_it(settings, Engine(settings.project), adopt=True)
        made.append(client.containers.create(IMAGE, labels=labels))

    yield deploy
    for container in made:
        container.remove(force=True)
    client.close()


@pytest.mark.parametrize("act", [operations.deploy, operations.rollback])
def test_a_second_checkout_is_refused_and_both_are_named(
    act: Callable[..., operations.Outcome],
    settings_of: Callable[[Path], OpsSettings],
    deployed: Deployed,
    tmp_path: Path,
) -> None:
    deployed(tmp_path / "first")
    settings = settings_of(tmp_path / "second")

    outcome = act(None, settings=settings, presenter=Listener())

    assert outcome.exit_code == 5
    assert outcome.error is not None
    assert f"deployed from {tmp_path / 'first'}, and this" in outcome.error.found
    assert str(tmp_path / "second") in outcome.error.found
    assert outcome.error.next.startswith(f"cd {tmp_path / 'first'} ")
    assert outcome.error.traffic == "Nothing was done; traffic is as it was."
    with pytest.raises(Refused):
        operations.recover(settings=settings, presenter=Listener())

    adopted = act(
        None, settings=settings, presenter=Listener(), options=Options(adopt_checkout=True)
    )
    assert adopted.error is not None
    assert str(tmp_path / "first") not in adopted.error.found


def test_the_first_deployment_and_each_from_the_same_directory_are_let(
    settings_of: Callable[[Path], OpsSettings], deployed: Deployed, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    settings = settings_of(first)
    engine = Engine(settings.project)

    require_it(settings, engine)
    deployed(first)
    require_it(settings, engine)

    first.rename(tmp_path / "moved")
    require_it(settings_of(tmp_path / "moved"), engine)
    (tmp_path / "link").symlink_to("moved")
    require_it(settings_of(tmp_path / "link"), engine)


def test_a_checkout_that_was_adopted_is_the_only_one_from_then_on(
    settings_of: Callable[[Path], OpsSettings], deployed: Deployed, tmp_path: Path
) -> None:
    deployed(tmp_path / "first")
    deployed(tmp_path / "second")
    engine = Engine(settings_of(tmp_path / "second").project)

    require_it(settings_of(tmp_path / "second"), engine)
    with pytest.raises(Refused):
        require_it(settings_of(tmp_path / "first"), engine)
