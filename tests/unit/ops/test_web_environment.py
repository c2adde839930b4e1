"""compose.prod.yml gives web and worker each variable that they read, and no secret."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.core import checks

from apps.ops.conf import OpsSettings
from apps.ops.site_conf import SiteSettings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "compose.prod.yml").read_text()
# What the image or the service itself sets.
SET_ELSEWHERE = {"MEDIA_ROOT", "RELEASE", "COLOR", "ROLE"}
NEVER = {"OPS_CLOUDFLARE_TOKEN", "OPS_NOTIFY_SLACK", "OPS_NOTIFY_WEBHOOKS", "OPS_PING_URL"}


def block(name: str) -> set[str]:
    found = re.search(rf"^x-{name}: &\S+\n((?:  .*\n|\n)+)", TEXT, re.MULTILINE)
    assert found, name
    return set(re.findall(r"^  ([A-Z_]+):", found[1], re.MULTILINE))


GIVEN = block("environment") | block("django") | block("django-secrets")
GUNICORN = (ROOT / "config/gunicorn.conf.py").read_text()
READ = set(SiteSettings.variables()) | {
    f.metadata["env"] for f in fields(OpsSettings) if f"ops.{f.name}" in GUNICORN
}


@pytest.mark.parametrize("name", sorted(READ - SET_ELSEWHERE))
def test_what_the_settings_and_gunicorn_read_is_given(name: str) -> None:
    assert name in GIVEN


@pytest.mark.parametrize("name", sorted(NEVER))
def test_what_only_operations_need_is_not_given(name: str) -> None:
    assert name in OpsSettings.variables()
    assert name not in GIVEN


def test_what_the_checks_ask_for_is_given(settings: Any) -> None:
    """The preflight asks them in the web's place."""
    asked: set[str] = set()
    known = OpsSettings()

    class Noting:
        def __getattr__(self, name: str) -> Any:
            asked.add(name)
            return getattr(known, name)

    settings.OPS = Noting()
    checks.run_checks(tags=["ops"], include_deployment_checks=True)

    variables = {f.name: f.metadata["env"] for f in OpsSettings.__dataclass_fields__.values()}
    assert len(asked) > 5
    assert {variables[name] for name in asked & variables.keys()} <= GIVEN
