"""purge_cache against a local server that behaves like Cloudflare's API."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django import Settings

from tests.integration.ops.cloudflare import CloudflareApi, purge_cache

if TYPE_CHECKING:
    from apps.ops.conf import OpsSettings
    from tests.conftest import OpsSettingsFactory


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareApi]:
    monkeypatch.setenv("NO_PROXY", "*")
    with CloudflareApi.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def ops(settings: Settings, ops_settings: OpsSettingsFactory, api: CloudflareApi) -> OpsSettings:
    made: OpsSettings = ops_settings(
        cloudflare_token=api.token,
        cloudflare_zone="example.org",
        cloudflare_api=api.address,
        site_host="example.org",
    )
    settings.OPS = made
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return partial(purge_cache, capsys)
