from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import load_command_class

from apps.ops import beside_the_socket
from apps.ops.beside_the_socket import NoPickles, Unpickling
from apps.ops.errors import Refused

ROOT = Path(__file__).parents[3]
SOCKET = "unix:///var/run/docker.sock"


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return eval, (f"open({str(self.path)!r}, 'w')",)


def unpickle(
    content: bytes, *, role: str, host: str, read: str = "loads"
) -> subprocess.CompletedProcess[str]:
    code = f"import pickle, apps.ops\npickle.{read}({content!r})"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "ROLE": role, "DOCKER_HOST": host},
        capture_output=True,
        text=True,
        check=False,
    )


# Written in C, and in Python.
@pytest.mark.parametrize("read", ["loads", "_loads"])
def test_beside_the_socket_no_pickle_is_read(tmp_path: Path, read: str) -> None:
    evil = pickle.dumps(Touch(tmp_path / "touched"))
    done = unpickle(evil, role="utility", host=SOCKET, read=read)

    assert "A pickle was about to be read beside Docker's socket, and was not." in done.stderr
    assert "a pickle that names ('builtins', 'eval') was not read" in done.stderr
    assert not (tmp_path / "touched").exists()


def test_the_web_and_the_worker_read_theirs(tmp_path: Path) -> None:
    done = unpickle(pickle.dumps(Touch(tmp_path / "touched")), role="worker", host=SOCKET)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "touched").exists()


def test_of_the_cache_numbers_are_read_and_nothing_else() -> None:
    assert NoPickles().loads(b"-12") == NoPickles().dumps(-12) == -12
    for value in (True, "text", b"12"):
        with pytest.raises(Unpickling):
            NoPickles().dumps(value)
    with pytest.raises(Unpickling):
        NoPickles().loads(pickle.dumps("text"))


def python(code: str, settings: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": settings, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("role", "serializer"),
    [("utility", "apps.ops.beside_the_socket.NoPickles"), ("web", "None")],
)
def test_the_settings_give_the_cache_beside_the_socket_no_pickles(
    role: str, serializer: str
) -> None:
    code = (
        "from django.conf import settings\n"
        "print(settings.CACHES['default']['OPTIONS'].get('serializer'))"
    )
    assert python(code, "config.settings", ROLE=role, DOCKER_HOST=SOCKET) == serializer


IMPORTED = """
import importlib, pkgutil, sys, django
django.setup()
from apps.ops.management import commands
for command in pkgutil.iter_modules(commands.__path__):
    importlib.import_module(f"{commands.__name__}.{command.name}")
print(*sorted(name for name in sys.modules if name in ("apps.home", "config.urls")))
"""


def test_the_agent_and_the_ops_commands_that_it_starts_import_nothing_of_the_site() -> None:
    assert python(IMPORTED, "config.utility", ROLE="utility") == ""
    # With checks of the site's there is no way around its code.
    checks = {"OPS_HEALTH_CHECKS": "apps.home.checks.look"}
    assert python(IMPORTED, "config.utility", ROLE="utility", **checks) == "apps.home"


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("python manage.py deploy", "config.utility"),
        ("python manage.py agent", "config.utility"),
        ("python manage.py", "the default"),
        ("python manage.py shell", "the default"),
        ("python manage.py ../../../../../config/settings", "the default"),
        ("python -m deploy", "the default"),
    ],
)
def test_the_utility_service_runs_ops_commands_without_the_sites_code(
    tmp_path: Path, words: str, settings: str
) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "${DJANGO_SETTINGS_MODULE:-the default}"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["docker/utility-entrypoint", *words.split()],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "OPS_SETTINGS_MODULE": "config.utility"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == settings


@pytest.mark.parametrize("is_there", [False, True])
def test_without_the_socket_the_utility_service_names_the_dotenv_that_is_gone(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Compose runs on a server whose `.env` was deleted, or emptied."""
    monkeypatch.setenv("ROLE", "utility")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(beside_the_socket, "SOCKET", tmp_path / "docker.sock")
    if is_there:
        (tmp_path / ".env").touch()

    with pytest.raises(Refused) as refused:
        beside_the_socket.require_not_development(tmp_path / ".env")

    error = refused.value
    said = "COMPOSE_FILE in .env names no production" if is_there else "There is no .env here"
    assert error.found.startswith(said)
    assert "COMPOSE_FILE=compose.prod.yml" in error.next
    (tmp_path / "docker.sock").touch()
    beside_the_socket.require_not_development(tmp_path / ".env")


@pytest.mark.parametrize("name", ["deploy", "status", "rollback", "freeze", "backup_db", "doctor"])
def test_commands_for_a_server_do_nothing_in_a_development_stack(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROLE", "utility")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(beside_the_socket, "SOCKET", tmp_path / "docker.sock")

    with pytest.raises(SystemExit) as ended:
        load_command_class("apps.ops", name).execute()

    assert ended.value.code == 5
    assert "development stack" in capsys.readouterr().err


def test_the_development_utility_starts_no_database() -> None:
    """Beside production's, it would be left running."""
    asked = ("docker", "compose", "--file", "compose.yml", "config", "--format", "json")
    done = subprocess.run(
        [*asked, "utility", "manage"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    services = json.loads(done.stdout)["services"]

    assert "depends_on" not in services["utility"]
    assert "postgres" in services["manage"]["depends_on"]
