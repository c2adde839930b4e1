"""`manage.py provision`: what it prints, and each of its exit codes, against a real sshd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from django.core.management import call_command
from pytest_django import Settings

from tests.integration.ops.provisioned_server import SshServer
from tests.servers import free_port

REPOSITORY = "git@forge.example.org:you/site.git"


class Provision(Protocol):
    def __call__(self, *arguments: str, port: int | None = None, user: str = ...) -> int: ...


@pytest.fixture
def provision(
    ssh_server: SshServer,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Provision:
    """The command as a developer types it who has a key and knows the server's; its exit code."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = home / ".ssh/id_ed25519"
    key.write_text(ssh_server.key.read_text())
    key.chmod(0o600)
    (home / ".ssh/known_hosts").write_text(ssh_server.known_hosts_line())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def run(*arguments: str, port: int | None = None, user: str = "deploy@") -> int:
        server = f"production={user}127.0.0.1:{port or ssh_server.port}{tmp_path}/srv/site"
        settings.OPS = replace(settings.OPS, servers=(server,))
        try:
            call_command("provision", "--repository", REPOSITORY, *arguments)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


def test_a_plan_tells_each_step_and_changes_nothing(
    provision: Provision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--plan", "--skip", "firewall") == 0

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("system       there    Debian")
    assert any(line.startswith("clone        will do  Clone git@forge") for line in told)
    assert not any(line.startswith("firewall") for line in told)
    assert told[-1].endswith("Nothing was changed.")
    assert not (tmp_path / "srv").exists()


def test_a_server_that_is_not_named_is_a_usage_error(
    provision: Provision, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--plan", "--server", "staging") == 2

    assert "has no server 'staging'. It has: production." in capsys.readouterr().err


@pytest.mark.parametrize("login", ["ann:hunter22", "hunter22"])
def test_a_repository_with_a_password_or_a_token_is_refused(
    provision: Provision, capsys: pytest.CaptureFixture[str], login: str
) -> None:
    assert provision("--plan", "--repository", f"https://{login}@forge.example.org/x") == 5

    said = capsys.readouterr().err
    assert "has a password or a token in it" in said
    assert "traffic is as it was" in said
    assert "hunter22" not in said


def test_a_server_that_is_not_there_is_told_so(
    provision: Provision, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--plan", port=free_port()) == 255

    assert "TCP" in capsys.readouterr().err


def test_a_checkout_without_a_remote_asks_for_an_address(
    provision: Provision, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.BASE_DIR = tmp_path

    assert provision("--plan", "--repository", "") == 5

    assert "Next: Name what the server is to clone" in capsys.readouterr().err


def test_a_server_without_the_user_who_is_to_deploy_is_asked_for_one(
    provision: Provision, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--plan", user="") == 2

    said = capsys.readouterr().err
    assert "names no user for production" in said
    assert "Next: OPS_SERVERS=production=deploy@127.0.0.1:" in said
