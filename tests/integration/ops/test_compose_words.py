"""What Compose itself says of a `.env` that it cannot read, be it ours or a server's, whose values
are not known here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from apps.ops.dotenv import parse
from apps.ops.errors import OpsError
from apps.ops.redact import HIDDEN, Redactor
from apps.ops.stack.compose import Compose

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-and-more"


def project(directory: Path, dotenv: str) -> Compose:
    service = {"image": "none", "env_file": ".env", "environment": {"SITE": "${SITE_HOST:-x}"}}
    file = directory / "compose.yml"
    file.write_text(json.dumps({"services": {"utility": service}}))
    (directory / ".env").write_text(dotenv)
    return Compose("changeover-words", directory, (file,))


@pytest.mark.parametrize(
    ("dotenv", "left"),
    [
        (f"POSTGRES_PASSWORD={SECRET}${{\n", "Invalid template: "),
        (f'POSTGRES_PASSWORD="{SECRET}\n', "unterminated quoted value "),
        (f"{SECRET}!x=1\n", "variable name "),
        (f"KEY=-----BEGIN\n{SECRET}+/==\n", "variable name "),
        ("POSTGRES_PASSWORD=before$hunter2_and_more\n", "variable is not set"),
        ("POSTGRES_PASSWORD=before${hunter2_and_more:?}\n", "required variable"),
    ],
)
def test_what_compose_quotes_of_a_dotenv_is_hidden(tmp_path: Path, dotenv: str, left: str) -> None:
    said: list[str] = []
    try:
        project(tmp_path, dotenv).check(said.append)
    except OpsError as error:
        said.append(error.output)
    assert "hunter2" in "".join(said)

    cleaned = Redactor([]).clean("\n".join(said))

    assert "hunter2" not in cleaned
    assert HIDDEN in cleaned
    assert left in cleaned


@pytest.mark.parametrize(
    ("value", "is_read"),
    [
        *((value, True) for value in ("a$5", "a$", "a$$5", "a$b", "${B:-x}", "${B:-${C}}", "'${'")),
        *((value, True) for value in ('"a\\${"', 'a"b', '"a" b', "a b", '"two\nlines"', "\r")),
        *((value, False) for value in ("${", "a${}", "${5}", "${B", '"a${"', '"a', "'a")),
    ],
)
def test_a_value_that_compose_cannot_read_is_known_before_it_is_sent(
    tmp_path: Path, value: str, is_read: bool
) -> None:
    text = f"A={value}\n"
    try:
        project(tmp_path, text).check(print)
    except OpsError:
        assert not is_read
    else:
        assert is_read

    assert bool(parse(text).wrong) != is_read


def test_a_variable_that_a_compose_file_asks_for_is_still_named(tmp_path: Path) -> None:
    compose = project(tmp_path, "")
    (tmp_path / "compose.yml").write_text(
        '{"services": {"a": {"image": "${IMAGE_NAME}", "hostname": "${HOST_NAME:?set it}"}}}'
    )
    with pytest.raises(OpsError) as refused:
        compose.check(print)

    said = refused.value.output
    cleaned = Redactor([]).clean(said)

    assert cleaned == said
    assert "HOST_NAME" in cleaned


def test_the_doctors_script_does_not_quote_the_dotenv(tmp_path: Path) -> None:
    project(tmp_path, f"POSTGRES_PASSWORD={SECRET}${{\n")
    script = tmp_path / "docker" / "doctor"
    script.parent.mkdir()
    script.write_text((ROOT / "docker/doctor").read_text())
    script.chmod(0o755)

    done = subprocess.run([script], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 3, done.stderr
    assert f"Invalid template: {HIDDEN}" in done.stdout
    assert SECRET not in done.stdout + done.stderr
