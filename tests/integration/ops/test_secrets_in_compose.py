"""What web and worker are given, as Compose itself reads compose.prod.yml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECRETS = {
    "SECRET_KEY": "the-key",
    "POSTGRES_PASSWORD": "the-password",
    "EMAIL_URL": "smtp://u:pw@h",
}
DOTENV = {
    **SECRETS,
    "COMPOSE_PROJECT_NAME": "read-only",
    "SITE_HOST": "example.org",
    "TIME_ZONE": "Europe/Berlin",
    "OPS_CLOUDFLARE_TOKEN": "the-token",
    "OPS_PING_URL": "https://ping.example.org/secret",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "compose.prod.yml", tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in DOTENV.items()))
    return tmp_path


def given(checkout: Path, service: str, **environment: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["docker", "compose", "--file", "compose.prod.yml", "config", "--format", "json"],
        cwd=checkout,
        env={**kept, "PWD": str(checkout), **environment},
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    found = json.loads(done.stdout)["services"][service]["environment"]
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("service", ["django-a", "django-b", "django-q"])
@pytest.mark.parametrize(
    "environment", [{}, {"ROLE": "utility", "NO_SECRETS": ""}], ids=["by hand", "by a deployment"]
)
def test_it_is_what_they_need_and_no_secret(
    checkout: Path, service: str, environment: dict[str, str]
) -> None:
    found = given(checkout, service, **environment)

    assert found["TIME_ZONE"] == "Europe/Berlin"
    assert found["SECRET_KEY_FILE"] == "/run/secrets/web/SECRET_KEY"
    assert not {"OPS_CLOUDFLARE_TOKEN", "OPS_PING_URL", *SECRETS} & found.keys()
    assert not set(SECRETS.values()) & set(found.values())


def test_a_release_from_before_the_files_passes_their_values(checkout: Path) -> None:
    """It carries out the deployment that brings them, and has not written any."""
    found = given(checkout, "django-a", ROLE="utility")

    assert {name: found[name] for name in SECRETS} == SECRETS
    assert "OPS_CLOUDFLARE_TOKEN" not in found


def test_the_utility_service_says_that_it_writes_them(checkout: Path) -> None:
    text = (checkout / "compose.prod.yml").read_text()
    utility = text[text.index("\n  utility:\n") :]
    assert '      NO_SECRETS: ""\n' in utility
