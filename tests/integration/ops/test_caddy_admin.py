"""Another Caddyfile for a Caddy that runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from apps.ops.colors import Color
from apps.ops.edge.admin import Admin, CaddyAway, CaddyRefused
from apps.ops.edge.inflight import in_flight
from tests.integration.ops.front_door import FrontDoor, Response, in_background
from tests.servers import wait_until


@pytest.fixture
def admin(caddy: FrontDoor) -> Iterator[Admin]:
    admin = Admin(caddy.admin)
    before = admin.running()
    yield admin
    admin.load(before)


def adapted(caddy: FrontDoor, *changes: str) -> Any:
    """What runs, with one text in the place of another."""
    path = caddy.directory / "Caddyfile"
    return Admin(caddy.admin).adapted(path.read_text().replace(*changes), path=str(path))


def test_what_runs_is_what_the_caddyfile_means(caddy: FrontDoor, admin: Admin) -> None:
    assert admin.running() == adapted(caddy, "nosniff", "nosniff")
    assert admin.running() != adapted(caddy, "nosniff", "other")


def test_another_caddyfile_counts_from_the_next_request_on_and_ends_none_that_was_begun(
    caddy: FrontDoor, admin: Admin
) -> None:
    """Also from one that had its admin socket otherwise, as the releases before this."""
    admin.load(adapted(caddy, "admin.sock|0220", "admin.sock"))
    done, answers, lost = Event(), list[Response](), list[Exception]()

    def visit() -> None:
        while not done.is_set():
            try:
                answers.append(caddy.get("/"))
            except ConnectionError as error:
                lost.append(error)

    visitor = in_background(visit)
    try:
        wait_until(lambda: len(answers) > 5)
        admin.load(adapted(caddy, "nosniff", "other"))
        so_far = len(answers)
        wait_until(lambda: len(answers) > so_far + 5)
    finally:
        done.set()
        visitor.join()

    assert {answer.status for answer in answers} == {200}
    # A connection that comes at the very moment can be the old server's, which does not answer it.
    assert len(lost) <= 1, lost
    assert caddy.get("/").headers["x-content-type-options"] == "other"
    assert in_flight(caddy.admin, Color.BLUE) == 0
    assert caddy.admin.stat().st_mode & 0o777 == 0o220


@pytest.mark.parametrize("broken", ["{", "http://:2020 {\n\tno_such_directive\n}"])
def test_a_caddyfile_that_makes_no_sense_is_refused_and_the_old_one_stays(
    caddy: FrontDoor, admin: Admin, broken: str
) -> None:
    before = admin.running()

    with pytest.raises(CaddyRefused):
        admin.adapted(broken)

    assert admin.running() == before


def test_a_configuration_that_cannot_work_is_refused_and_the_old_one_stays(
    caddy: FrontDoor, admin: Admin
) -> None:
    before = admin.running()

    with pytest.raises(CaddyRefused):
        admin.load({**before, "apps": {"no_such_app": {}}})

    assert admin.running() == before
    assert caddy.get("/").status == 200


def test_without_caddy_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(CaddyAway):
        Admin(tmp_path / "admin.sock").running()


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_a_previews_cookie_goes_over_https_only_where_the_site_does(
    caddy: FrontDoor, scheme: str, secure: bool
) -> None:
    adapted = subprocess.run(
        ["caddy", "adapt", "--config", str(caddy.directory / "Caddyfile")]
        + ["--adapter", "caddyfile"],
        env={**os.environ, "SITE_HOST": "site.test", "SITE_SCHEME": scheme},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout

    assert ("SameSite=Lax; Secure" in adapted) == secure
