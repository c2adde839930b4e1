"""`.env.example` tells of every variable there is, and of no other; one name has one default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apps.ops.conf import OpsSettings
from apps.ops.redaction.public import NAMES
from apps.ops.site_conf import SiteSettings

ROOT = Path(__file__).parents[3]
# What a login shell or Compose's own run knows.
OF_THE_SHELL = {"PWD", "USER", "SUDO_USER", "SSH_CONNECTION"}


def text(name: str) -> str:
    return (ROOT / name).read_text()


def code(name: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text(name).splitlines())


EXAMPLE = {
    match[1]: match[2]
    for match in re.finditer(r"^#?([A-Z_]+)=(.*)$", text(".env.example"), re.MULTILINE)
}
VARIABLES = {**OpsSettings.variables(), **SiteSettings.variables()}
READERS = {
    "settings": set(VARIABLES),
    "compose.prod.yml": set(re.findall(r"(?<!\$)\$\{(\w+)", code("compose.prod.yml"))),
    "docker/caddy/Caddyfile": set(re.findall(r"\{\$(\w+)", code("docker/caddy/Caddyfile"))),
}
# What the compose file or the image gives to a container is not the operator's to set.
GIVEN = set(re.findall(r"\b([A-Z][A-Z_]+): ", code("compose.prod.yml"))) | {
    name
    for line in re.findall(r"^ENV (.*)$", text("Dockerfile"), re.MULTILINE)
    for name in re.findall(r"(\w+)=", line)
}
# And what it starts Caddy with.
GIVEN |= set(re.findall(r"\b([A-Z_]+)=", code("compose.prod.yml")))


@pytest.mark.parametrize(
    ("reader", "variable"),
    [
        (reader, variable)
        for reader, variables in READERS.items()
        for variable in sorted(variables - GIVEN - OF_THE_SHELL)
    ],
)
def test_a_variable_that_is_read_is_described(reader: str, variable: str) -> None:
    assert variable in EXAMPLE, f"{reader} reads {variable}"


@pytest.mark.parametrize("variable", EXAMPLE)
def test_a_variable_that_is_described_is_read_and_explained(variable: str) -> None:
    assert any(variable in variables for variables in READERS.values())
    assert f"`{variable}`" in text("docs/settings.md")


def test_the_readers_are_really_looked_at() -> None:
    assert all(len(variables) >= 2 for variables in READERS.values()), READERS


@pytest.mark.parametrize("variable", sorted(VARIABLES.keys() & EXAMPLE.keys()))
def test_the_default_that_is_described_is_the_one_in_the_code(variable: str) -> None:
    default = VARIABLES[variable]
    described = EXAMPLE[variable]
    if not described or default is None:
        return  # Required, filled in by the compose file, or derived from others.
    match default:
        case bool():
            assert described == str(default).lower()
        case int() | float():
            assert described == f"{default:g}"
        case tuple():
            assert described == ",".join(default)
        case _:
            assert described == str(default)


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("compose.prod.yml", r"(?<!\$)\$\{(\w+):-([^$}]*)\}"),
        ("docker/caddy/Caddyfile", r"\{\$(\w+):([^}]*)\}"),
    ],
)
def test_a_default_that_stands_elsewhere_too_is_the_same_one(file: str, pattern: str) -> None:
    found = re.findall(pattern, code(file))
    assert found

    for variable, default in found:
        if EXAMPLE.get(variable):
            assert EXAMPLE[variable].lower() == default.lower(), variable


def test_what_is_required_is_what_the_stack_cannot_do_without() -> None:
    required = re.findall(r"^([A-Z_]+)=$", text(".env.example"), re.MULTILINE)

    assert required == ["SECRET_KEY", "POSTGRES_PASSWORD", "SITE_HOST"]
    demanded = re.findall(r"\$\{(\w+):\?", text("compose.prod.yml"))
    assert set(demanded) | {"SECRET_KEY"} == set(required)


def test_a_variable_is_named_public_or_is_a_secret_by_intent() -> None:
    assert set(EXAMPLE) - NAMES == {
        *("EMAIL_URL", "OPS_CLOUDFLARE_TOKEN", "OPS_NOTIFY_SLACK", "OPS_NOTIFY_WEBHOOKS"),
        *("OPS_PING_URL", "POSTGRES_PASSWORD", "SECRET_KEY", "SECRET_KEY_FALLBACKS"),
    }
