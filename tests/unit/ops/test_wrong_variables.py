"""With every variable wrong, what looks and goes back works and names them; what goes forward
refuses; nothing shows a value, and nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class

from apps.ops.conf import OpsSettings
from apps.ops.deploys.events import Listener
from apps.ops.deploys.operations import deploy
from apps.ops.management.base import OpsCommand
from apps.ops.site_conf import SiteSettings

ROOT = Path(__file__).parents[3]
LEAK = "leaked-value"
ANYTHING = {"OPS_REQUESTED_BY", "OPS_REQUESTED_FROM"}
# Without these there would be nothing to ask.
NEEDED = {"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"}
NEEDED |= {"OPS_STATE_DIR", "OPS_EDGE_DIR", "OPS_BACKUP_DIR", "COMPOSE_PROJECT_NAME", "ROLE"}
VARIABLES = {**OpsSettings.variables(), **SiteSettings.variables()}.keys() - ANYTHING - NEEDED
SENTENCE = "SECURE_HSTS_SECONDS must be a whole number."


def run(*argv: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(VARIABLES, f"{LEAK}\n{LEAK}"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert LEAK not in said
    assert "Traceback" not in said
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("manage.py", "check"),
        ("-m", "gunicorn", "--config", "config/gunicorn.conf.py", "config.wsgi"),
        ("-c", "import config.wsgi"),
    ],
)
def test_what_serves_does_not_start_and_says_why(argv: tuple[str, ...]) -> None:
    code, _, errors = run(*argv)

    assert code == 1
    named = {
        line.partition(" must ")[0].removeprefix("Configuration: ") for line in errors.split("\n")
    }
    of_gunicorn = OpsSettings.variables().keys() & VARIABLES
    assert named >= (of_gunicorn if "gunicorn" in argv else VARIABLES)


def test_status_beside_the_socket_looks_and_names_them_all(tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("OPS_STATE_DIR", "OPS_EDGE_DIR")}
    utility = {"ROLE": "utility", "DJANGO_SETTINGS_MODULE": "config.utility"}
    utility["DOCKER_HOST"] = f"unix://{tmp_path}/none"

    code, output, _ = run("manage.py", "status", "--format", "json", **utility, **places)

    assert code == 1
    problems = json.loads(output)["problems"]
    assert {problem.partition(" must ")[0] for problem in problems} >= VARIABLES - {"ROLE"}


def test_a_file_of_a_laptop_that_no_reader_understands_is_not_printed(tmp_path: Path) -> None:
    """A key in quotes, over lines, and lines that are nothing."""
    text = f'KEY="-----BEGIN\n{LEAK}\n-----END"\n{LEAK} {LEAK}\n{LEAK}\nNUL=\0\n\xff'
    code = (
        "import os, sys; from pathlib import Path; from apps.ops.variables import read_dotenv;"
        "known = set(os.environ); read_dotenv(Path(sys.argv[1]), os.environ);"
        "print(*(set(os.environ) - known))"
    )
    (tmp_path / ".env").write_bytes(text.encode("latin-1"))

    assert run("-c", code, str(tmp_path / ".env")) == (0, "KEY\n", "")


OWN = sorted(name for name, app in get_commands().items() if app == "apps.ops")
GO_ON = {
    *(
        "agent",
        "backup_db",
        "canary",
        "cancel",
        "check_health",
        "deploy",
        "doctor",
        "freeze",
        "health_history",
    ),
    *("history", "logs", "maintenance", "preview", "recover", "remote", "rollback", "status"),
}


@pytest.mark.parametrize("name", OWN)
def test_what_goes_forward_or_removes_something_refuses(
    name: str, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.WRONG_VARIABLES = (SENTENCE,)
    command: Any = load_command_class("apps.ops", name)

    assert isinstance(command, OpsCommand)
    assert command.works_with_wrong_variables == (name in GO_ON)
    if name not in GO_ON:
        with pytest.raises(SystemExit) as ended:
            command.execute()
        assert ended.value.code == 5
        assert SENTENCE in capsys.readouterr().err


def test_a_deployment_is_refused_before_anything_is_touched(settings: Any, tmp_path: Path) -> None:
    settings.WRONG_VARIABLES = (SENTENCE,)
    untouched = OpsSettings(state_dir=tmp_path / "state", checkout=tmp_path / "none")

    outcome = deploy(None, settings=untouched, presenter=Listener())

    assert outcome.exit_code == 5
    assert outcome.error
    assert outcome.error.found == SENTENCE
    assert not list(tmp_path.iterdir())


def test_what_goes_on_says_first_what_is_wrong(settings: Any, tmp_path: Path) -> None:
    settings.WRONG_VARIABLES = (SENTENCE,)
    settings.OPS = OpsSettings(state_dir=tmp_path)
    errors = StringIO()

    call_command("recover", "--plan", stdout=StringIO(), stderr=errors)

    assert errors.getvalue().startswith(f"Warning: {SENTENCE} ")
