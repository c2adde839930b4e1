"""Clean machines become servers, with the command that a developer types, and stay as they are when
it is typed again: Debian 12 and 13, with systemd and without.

One of them gets this project's own site. The others get a small one, which deploys in a moment. No
machine fetches or installs what this one has in an image.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.machines import (
    LOOK_SECONDS,
    MAKE_SECONDS,
    MAKER,
    ROOT,
    Box,
    Forge,
    Laptop,
    bare_repository,
    run,
    stage_of,
)
from tests.rig.stack import Result

# They take long, so that they begin early.
pytestmark = pytest.mark.slow

HOST = "www.example.org"
# Beyond it a test hangs: the first one makes the machine's image.
TEST_SECONDS = 1800
BASE_IMAGES = ("python:3.13-slim-trixie", "postgres:17", "redis:8", "caddy:2", "nginx:1")
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".env", ".ssh", ".demo", ".bench", ".cache", ".*_cache", "__pycache__"
)
# Of this project's Dockerfile: what they install is carried over.
STAGES = ("base", "tools")
STEPS = 12
# Who runs `utility` brings up the colour: what a deployment does, as far as the steps look. It ends
# when it is let.
SMALL = {
    ".env.example": "SECRET_KEY=\nPOSTGRES_PASSWORD=\nSITE_HOST=\n"
    "COMPOSE_FILE=compose.prod.yml\nCOMPOSE_PROJECT_NAME=site\n",
    ".gitignore": ".env\n.env.*\n!.env.example\n.ssh/\n",
    "Dockerfile": f"FROM {MAKER}\nWORKDIR /app\nCOPY manage.py .\n",
    "manage.py": "import os, pathlib, sys, time\n"
    "print('deploying', sys.argv[1:], 'for', os.environ['OPS_REQUESTED_BY'], flush=True)\n"
    "while not pathlib.Path('/key/go').exists(): time.sleep(0.1)\n",
    "compose.prod.yml": f"""\
services:
  django-a: &runs
    image: {MAKER}
    pull_policy: never
    init: true
    restart: unless-stopped
    command: sleep infinity
  caddy: *runs
  utility:
    image: site:utility
    build: .
    pull_policy: never
    depends_on: [django-a, caddy]
    volumes: [./.ssh:/key:ro]
""",
    "docker/standins/ensure": "#!/bin/sh\n",
}
# What a run that changes nothing leaves alone.
STATE = """\
cd /
find etc home root srv/site usr/local -xdev -type f -exec sha256sum {} + | sort -k 2
dpkg-query -W
docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps --quiet) 2>/dev/null || true
"""


def small_site(place: Path) -> Path:
    for name, text in SMALL.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "docker/standins/ensure").chmod(0o755)
    shutil.copytree(ROOT / "docker/supervisor", place / "docker/supervisor")
    return place


def own_site(place: Path) -> Path:
    shutil.copytree(ROOT, place, ignore=LEFT_OUT, symlinks=True)
    example = place / ".env.example"
    settings = {
        # No certificate is to be had for the name.
        "#SITE_SCHEME=https": "SITE_SCHEME=http",
        "#OPS_BAKE_SECONDS=30": "OPS_BAKE_SECONDS=1",
        "#OPS_SETTLE_SECONDS=2": "OPS_SETTLE_SECONDS=0.5",
        # Each look is a process, and nobody waits for the next one.
        "#HEALTH_INTERVAL_SECONDS=5": "HEALTH_INTERVAL_SECONDS=15",
    }
    text = example.read_text()
    for before, after in settings.items():
        assert before in text
        text = text.replace(before, after)
    example.write_text(text)
    dockerfile = place / "Dockerfile"
    text = dockerfile.read_text()
    for name in STAGES:
        stage = rf"(?ms)^FROM \S+ AS {name}\n.*?(?=^FROM )"
        text, found = re.subn(stage, f"FROM {stage_of(name)} AS {name}\n\n", text)
        assert found == 1
    dockerfile.write_text(text)
    return place


class Scene:
    """A machine, the forge that has its site, and whose laptop it is provisioned from."""

    def __init__(self, laptop: Laptop, box: Box, forge: Forge) -> None:
        self.laptop, self.box, self.forge = laptop, box, forge
        box.prepare(laptop.public_key)
        laptop.know(box, forge)

    def words(self, *options: str) -> tuple[str, ...]:
        given = ("--login", "admin", "--repository", self.forge.repository, "--site-host", HOST)
        return ("provision", "--server", "production", *given, *options)

    def provision(self, *options: str) -> Result:
        return self.laptop.manage(self.box, *self.words(*options))

    def remote(self, *words: str) -> Result:
        return self.laptop.manage(self.box, "remote", "--server", "production", *words)

    def up_to_the_deployment(self, *images: str) -> None:
        """A plan, a run that stops at the key, the key, and no registry for what is here."""
        before = self.box.sh(STATE)
        plan = self.provision("--plan")
        assert plan.code == 0, plan
        assert plan.output.endswith("To do: 11 steps; there: 1. Nothing was changed.\n")
        assert self.box.sh(STATE) == before

        stopped = self.provision()
        assert stopped.code == 5, stopped
        assert "read-only deploy key" in stopped.errors
        lines = stopped.output.splitlines()
        self.forge.let_in(next(line for line in lines if line.startswith("ssh-ed25519 ")))
        self.box.load(*images)

    def is_left_alone_by_a_second_run(self) -> None:
        before = self.box.sh(STATE)
        self.box.sh("touch /tmp/before")
        again = self.provision()
        assert again.code == 0, again
        assert again.output.endswith(f"All {STEPS} steps are there already: nothing was changed.\n")
        assert self.box.sh(STATE) == before
        newer = "find /etc /home /srv /usr /opt /var/lib/dpkg /var/lib/apt -newer /tmp/before"
        assert self.box.sh(newer) == ""


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Of which kind: a Debian release, sshd's port, whether systemd runs, and what its site is."""
    suite, port, systemd, site = request.param
    bare = bare_repository(site(tmp_path / "site"), tmp_path / "site.git")
    with ExitStack() as started:
        box = Box(suite, port=port, systemd=systemd)
        started.callback(box.destroy)
        forge = Forge(box.gateway, bare)
        started.callback(forge.destroy)
        yield Scene(Laptop(tmp_path / "home"), box, forge)


@pytest.mark.timeout(TEST_SECONDS)
@pytest.mark.parametrize("scene", [("trixie", 22, True, own_site)], indirect=True)
def test_a_clean_debian_13_gets_this_projects_site_and_deploys_it_again(
    scene: Scene, tmp_path: Path
) -> None:
    scene.up_to_the_deployment(*BASE_IMAGES, *map(stage_of, STAGES))

    first = scene.provision()

    assert first.code == 0, first
    assert first.output.endswith("Done: 4 steps; there already: 8.\n")
    status = scene.remote("status")
    assert status.code == 0, status
    assert "the front door answers 200" in status.output
    assert "ada@" in status.output
    released = visit(scene.box)
    scene.is_left_alone_by_a_second_run()

    second_commit(tmp_path / "site.git")
    second = scene.remote("deploy")
    assert second.code == 0, second
    assert visit(scene.box) != released


def second_commit(bare: Path) -> None:
    """On main, with the same files."""
    git = ("git", "-C", str(bare), "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    commit = run(*git, "commit-tree", "-p", "main", "-m", "Second", "main^{tree}").strip()
    run(*git, "update-ref", "refs/heads/main", commit)


def visit(box: Box) -> str:
    """The release that answers from outside, as the page's footer says it."""
    connection = http.client.HTTPConnection(box.address, timeout=LOOK_SECONDS)
    connection.request("GET", "/", headers={"Host": HOST})
    answer = connection.getresponse()
    assert answer.status == 200
    release = re.search(r'data-release="([0-9a-f]{40})"', answer.read().decode())
    assert release
    return release[1]


@pytest.mark.timeout(TEST_SECONDS)
@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(("trixie", 2222, False, small_site), id="debian-13-without-systemd"),
        pytest.param(("bookworm", 2222, True, small_site), id="debian-12", marks=pytest.mark.more),
    ],
    indirect=True,
)
def test_a_clean_machine_becomes_a_server_and_a_second_run_changes_nothing(scene: Scene) -> None:
    box = scene.box
    scene.up_to_the_deployment(MAKER)

    # The laptop dies in the middle of the first deployment, which goes on; the next run follows it.
    with scene.laptop.begin(box, *scene.words()) as first:
        read_until(first, "deploying ['deploy'")
        first.kill()
    with scene.laptop.begin(box, *scene.words()) as following:
        read_until(following, "Follow the deployment that was begun")
        box.sh("touch /srv/site/.ssh/go")
        said = following.communicate(timeout=MAKE_SECONDS)[0]
    assert following.returncode == 0, said
    assert "for ada@" in said
    assert said.endswith("Done: 1 steps; there already: 11.\n")
    scene.is_left_alone_by_a_second_run()

    # The way in that was used stays open, beside what a site needs.
    rules = box.sh("ufw status")
    ports = (f"{box.port}/tcp", "22/tcp", "80/tcp", "443/tcp", "443/udp")
    assert all(f"{port} " in rules for port in ports), rules
    dry = box.sh("unattended-upgrade --dry-run --verbose 2>&1")
    assert "Initial blacklist: docker containerd runc" in dry
    assert box.sh("stat -c '%a %U' /srv/site/.env /srv/site/.ssh/id_ed25519") == "600 deploy\n" * 2
    # Who could provision may log in as the deploy user, and that one is not root.
    as_deploy = scene.provision("--login", "deploy")
    assert as_deploy.code == 5
    assert "sudo asks deploy for a password" in as_deploy.errors

    # What a server has lost is told, and brought back beside what runs.
    ran = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps --quiet)"
    before = box.sh(ran)
    box.sh("supervisorctl stop stack; rm /etc/docker/daemon.json")
    box.sh("dpkg --remove just; rm -f /usr/local/bin/just")  # Debian's, or a wheel's.
    lacking = scene.provision("--plan")
    assert lacking.output.endswith("To do: 3 steps; there: 9. Nothing was changed.\n"), lacking
    fixed = scene.provision()
    assert fixed.code == 0, fixed
    assert box.sh(ran) == before
    # What was opened on purpose is not closed over somebody's head.
    box.sh("ufw default allow incoming")
    opened = scene.provision("--plan")
    assert opened.code == 5
    assert opened.errors.startswith("firewall: ufw is active and lets in everything")


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"It ended without {words!r}: {''.join(said)}")
