"""What images have and lack, with the real engine, the real apt and images of our own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

import docker
from apps.ops import updates
from apps.ops.health.checks import images as check
from apps.ops.health.result import Status
from apps.ops.models import Packages, Release
from apps.ops.stack.images import Images
from apps.ops.stack.inventory import Inventory, read

if TYPE_CHECKING:
    from pytest_django import Settings

    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory

ROOT = Path(__file__).parents[3]
BASE = "python:3.13-slim-trixie"
# An archive needs no packages to be told that it has newer ones.
LACKING = f"""\
FROM {BASE}
LABEL changeover.project=PROJECT
COPY docker/inventory.py /inventory.py
RUN python /inventory.py
RUN rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* \\
    && echo 'deb [trusted=yes] file:/archive ./' > /etc/apt/sources.list
WORKDIR /archive
RUN printf '%s\\n' 'Package: tzdata' 'Version: 9999' 'Architecture: all' 'Filename: a' 'Size: 1' \\
        > Packages \\
    && printf 'Label: Debian-Security\\nSuite: stable-security\\nSHA256:\\n %s %s Packages\\n' \\
        $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) > Release
CMD ["sleep", "600"]
"""
WITHOUT_APT = f"FROM {BASE}\nLABEL changeover.project=PROJECT\nRUN rm /usr/bin/apt-get\n"


def build(project: str, tag: str, dockerfile: str) -> None:
    argv = ["docker", "build", "--quiet", "--tag", f"{project}:{tag}", "--file", "-", "."]
    text = dockerfile.replace("PROJECT", project)
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True, cwd=ROOT)


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    """One image that lacks an update of tzdata, and one without apt."""
    images = Images(f"updates-{secrets.token_hex(4)}")
    build(images.project, "lacking", LACKING)
    build(images.project, "without-apt", WITHOUT_APT)
    yield images
    for tag in ("lacking", "without-apt"):
        images.untag(tag)


@pytest.fixture
def stack(images: Images, ops_settings: OpsSettingsFactory) -> Iterator[OpsSettings]:
    """A worker that runs the image that lacks an update."""
    labels = {"project": images.project, "service": "django-q", "oneoff": "False"}
    container = docker.from_env().containers.run(
        f"{images.project}:lacking",
        init=True,
        detach=True,
        labels={f"com.docker.compose.{name}": value for name, value in labels.items()},
    )
    yield ops_settings(project=images.project)
    container.remove(force=True)


def test_an_image_tells_its_packages_of_both_kinds(images: Images) -> None:
    inventory = read(images, "lacking")

    assert inventory is not None
    assert inventory.system["ID"] == "debian"
    assert {"tzdata", "libc6"} <= inventory.deb.keys()
    assert "pip" in inventory.pypi
    assert read(images, "without-apt") is None
    assert read(images, "no-such-image") is None


def test_apt_is_asked_in_the_image_and_nothing_is_left(images: Images) -> None:
    said, why = images.simulate_upgrade(f"{images.project}:lacking", seconds=60)

    assert (why, next(updates.security_updates(said or "")).split()[0]) == ("", "tzdata")
    assert images.simulate_upgrade(f"{images.project}:without-apt", seconds=60) == (
        None,
        "apt could not be asked (it has no apt-get)",
    )
    assert images.remove_readers() == 0


def test_a_missing_update_is_found_kept_and_said_by_the_health_check(
    stack: OpsSettings, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.OPS = stack
    before = check.look(stack)
    assert before.status is Status.GOOD
    assert "Security updates were not asked for" in before.summary

    with pytest.raises(SystemExit) as ended:
        call_command("check_updates")
    assert ended.value.code == 1
    assert "django-q: 1 security update" in (said := capsys.readouterr().out)
    assert "Next: manage.py deploy --refresh" in said

    after = check.look(stack)
    assert (after.status, after.next) == (Status.BAD, "manage.py deploy --refresh")
    assert after.summary.startswith("The image of django-q lacks 1 security update, as tzdata ")


def test_an_old_base_is_bad_and_a_limit_of_0_asks_for_nothing(
    stack: OpsSettings, ops_settings: OpsSettingsFactory
) -> None:
    old = ops_settings(project=stack.project, health_image_days=0.000001)

    assert check.look(old).status is Status.BAD
    assert "stands on a base image of" in check.look(old).summary
    assert check.look(ops_settings(health_image_days=0)).status is Status.GOOD


def test_what_was_found_long_ago_or_is_damaged_says_nothing(tmp_path: Path) -> None:
    updates.keep([updates.Found("caddy", "sha256:a", ["openssl 1 → 2"])], tmp_path)
    assert updates.kept(tmp_path) == [updates.Found("caddy", "sha256:a", ["openssl 1 → 2"])]

    file = tmp_path / updates.FILE
    record = json.loads(file.read_text())
    long_ago = datetime.now(UTC) - updates.GOOD_FOR - timedelta(hours=1)
    for text in (json.dumps({**record, "at": long_ago.isoformat()}), "[]", "{", '{"at": 3}'):
        file.write_text(text)
        assert updates.kept(tmp_path) is None


def test_what_a_refresh_left_is_removed_unless_a_container_was_made_from_it(
    stack: OpsSettings, images: Images
) -> None:
    build(images.project, "other", LACKING.replace("600", "601"))
    build(images.project, "other", LACKING.replace("600", "602"))
    assert images.remove_untagged() == 1
    assert images.remove_untagged() == 0

    images.untag("other")
    assert images.image_id("lacking")


def test_the_host_is_told_what_it_lacks_and_what_is_left_to_it(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for directory in (archive, tmp_path / "lists" / "partial"):
        directory.mkdir(parents=True)
    packages = "".join(
        f"Package: {name}\nVersion: 9999:1\nArchitecture: amd64\nFilename: a\nSize: 1\n\n"
        for name in ("git", "docker-cli", "docker-compose")
    )
    (archive / "Packages").write_text(packages)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    release = f"Label: Debian-Security\nSHA256:\n {digest} {len(packages)} Packages\n"
    (archive / "Release").write_text(release)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "/nowhere";'
        f'Dir::State::lists "{tmp_path}/lists"; Dir::Cache "{tmp_path}"; APT::Sandbox::User "root";'
    )
    env = {**os.environ, "APT_CONFIG": str(tmp_path / "apt.conf")}
    argv = [ROOT / "docker/host-updates"]

    before = subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout
    subprocess.run(["apt-get", "update"], env=env, check=True, capture_output=True)
    said = subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout

    assert before == ""
    assert "Security updates are missing on this host: 3, as of " in said
    assert "sudo apt-get install --only-upgrade docker-cli docker-compose\n" in said


@pytest.mark.django_db
def test_sbom_prints_the_release_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    inventory = Inventory("2026-01-02T03:04:05+00:00", deb={"openssl": "3"}, pypi={"django": "5"})
    release = Release.objects.create(sha="b" * 40)
    Release.objects.create(sha="bbbb" + "c" * 36)
    Packages.objects.create(release=release, inventory=inventory.as_record())

    call_command("sbom", "b" * 12)
    bill = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in bill["components"]] == ["openssl", "django"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("commit", "found"),
    [
        ("bbbb", "means more than one release"),
        ("cafe", "means no release"),
        ("%", "means no release"),
        ("", "Nothing is live"),
        ("bbbbb", "was built without an inventory"),
    ],
)
def test_sbom_says_why_there_is_none(
    commit: str, found: str, ops_settings: OpsSettingsFactory, settings: Settings
) -> None:
    settings.OPS = ops_settings(project=f"nobody-{secrets.token_hex(4)}")
    Release.objects.create(sha="b" * 40)
    Release.objects.create(sha="bbbb" + "c" * 36)
    errors = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("sbom", *([commit] if commit else []), stderr=errors)

    assert ended.value.code == 1
    assert found in errors.getvalue()
    assert "Next: manage.py" in errors.getvalue()
