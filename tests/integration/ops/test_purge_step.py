"""What a deployment and a rollback purge by themselves, at an API that is served locally."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from apps.ops.admin.purge import PurgeAdmin
from apps.ops.conf import OpsSettings
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.runner import Runner
from apps.ops.deploys.steps.base import Step
from apps.ops.deploys.steps.purge import Purge
from apps.ops.deploys.steps.static import MANIFEST
from apps.ops.errors import OpsError
from apps.ops.models import Deployment
from apps.ops.models import Purge as Row
from apps.ops.stack.engine import Engine
from tests.integration.ops.cloudflare import CloudflareApi, answers, echoes_the_token
from tests.integration.ops.conftest import NEW, OLD, begin
from tests.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "https://example.org"


def image(**plain: bytes) -> dict[str, bytes]:
    manifest = {"paths": {"a.css": "a.0123456789ab.css"}}
    hashed = {MANIFEST: json.dumps(manifest).encode(), "a.0123456789ab.css": b"a"}
    return hashed | {name.replace("_", "."): content for name, content in plain.items()}


class EngineOf(Engine):
    """Docker is not there in these tests: which images it would have."""

    def __init__(self, **images: dict[str, bytes]) -> None:
        super().__init__("test")
        self.images = images

    def read_tree(self, image: str, path: str) -> Iterator[tuple[str, bytes]]:
        yield from self.images[image.partition(":")[2]].items()

    def image_id(self, tag: str) -> str | None:
        return tag if tag in self.images else None


class EngineAway(EngineOf):
    def read_tree(self, image: str, path: str) -> Iterator[tuple[str, bytes]]:
        raise OpsError("Docker does not answer.", next="systemctl status docker")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareApi]:
    monkeypatch.setenv("NO_PROXY", "*")
    with CloudflareApi.serving() as server:
        yield server


@pytest.fixture
def live(deploy: Deploy, api: CloudflareApi) -> Deploy:
    """Past its swap: robots.txt differs from the release before, favicon.svg does not."""
    deploy.uid = "20261123-130000-abcdef"
    deploy.settings = replace(
        deploy.settings,
        cloudflare_token=api.token,
        cloudflare_zone="example.org",
        cloudflare_api=api.address,
        site_host="example.org",
        purge_paths=("/", "/about/?page=1"),
    )
    deploy.engine = EngineOf(
        **{
            OLD: image(robots_txt=b"old", favicon_svg=b"same", gone_txt=b"gone", a_css=b"1"),
            NEW: image(robots_txt=b"new", favicon_svg=b"same", a_css=b"2", ä_txt=b"new"),
        }
    )
    return deploy


def test_what_changed_under_its_old_name_and_the_pages_of_the_setting_are_purged(
    live: Deploy, api: CloudflareApi
) -> None:
    assert Purge().run(live) == "5 purged at example.org"

    assert api.purged == [
        (
            "files",
            [
                f"{SITE}/",
                f"{SITE}/about/?page=1",
                f"{SITE}/static/a.css",
                f"{SITE}/static/robots.txt",
                f"{SITE}/static/%C3%A4.txt",
            ],
        )
    ]
    row = Row.objects.get()
    assert (row.status, row.reason) == ("purged", f"after the deploy of {NEW[:12]}")
    assert (row.deployment_uid, row.requested_by) == (live.uid, "ada")


def test_without_a_token_it_does_nothing_and_says_so(live: Deploy, api: CloudflareApi) -> None:
    live.settings = replace(live.settings, cloudflare_token="")

    assert Purge().run(live) == "no CDN is set (OPS_CLOUDFLARE_TOKEN)"
    assert api.requests == []
    assert not Row.objects.exists()


def test_when_nothing_changed_and_no_page_is_set_nothing_is_sent(
    live: Deploy, api: CloudflareApi
) -> None:
    live.settings = replace(live.settings, purge_paths=())
    live.engine = EngineOf(**{OLD: image(a_css=b"1"), NEW: image(a_css=b"1")})

    assert Purge().run(live) == "nothing changed without changing its name"
    assert api.requests == []


def test_when_the_release_before_is_not_known_all_such_files_are_purged(
    live: Deploy, api: CloudflareApi
) -> None:
    live.engine = EngineOf(**{NEW: image(robots_txt=b"new", favicon_svg=b"same")})

    Purge().run(live)

    assert api.values("files")[2:] == [f"{SITE}/static/favicon.svg", f"{SITE}/static/robots.txt"]


def test_when_docker_does_not_tell_all_static_files_are_purged(
    live: Deploy, api: CloudflareApi
) -> None:
    live.engine = EngineAway()

    Purge().run(live)

    assert api.values("files") == [f"{SITE}/", f"{SITE}/about/?page=1"]
    assert api.values("prefixes") == ["example.org/static/"]


def test_static_files_on_a_host_of_their_own_are_purged_there(
    live: Deploy, api: CloudflareApi, settings: Settings
) -> None:
    settings.STATIC_URL = "https://cdn.example.org/s/"

    Purge().run(live)

    assert "https://cdn.example.org/s/robots.txt" in api.values("files")


class Swapped(Step):
    name = "swap"

    def run(self, deploy: Deploy) -> str:
        deploy.swapped_at = datetime.now(UTC)
        return "blue → green"


def run(live: Deploy) -> Outcome:
    recorder = begin(live.settings.state_dir)
    return Runner(live, (Swapped(), Purge()), recorder, Listener()).run("main")


def test_a_purge_that_fails_is_a_warning_on_a_live_deployment_with_the_command_to_type(
    live: Deploy, api: CloudflareApi, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    api.troubles.append(answers(403, {"success": False, "errors": []}))

    outcome = run(live)

    assert (outcome.status, outcome.exit_code) == ("succeeded", 6)
    (warning,) = Deployment.objects.get().warnings
    assert warning.startswith("purge: 0 of 5 were purged at the CDN: Cloudflare refuses with 403.")
    assert "Visitors may get old copies of the rest until they expire." in warning
    # What refuses is fixed first: the command alone would be refused, too.
    fix, _, rest = warning.split("Next: ")[1].partition("; then manage.py ")
    assert fix
    command = ["manage.py", *shlex.split(rest)]
    assert command[:2] == ["manage.py", "purge_cache"]
    settings.OPS = live.settings
    with pytest.raises(SystemExit, match="0"):
        call_command(*command[1:])
    assert f"{SITE}/static/robots.txt" in api.values("files")


def test_the_token_comes_into_no_warning(live: Deploy, api: CloudflareApi) -> None:
    api.weather = lambda: echoes_the_token

    run(live)

    row = Deployment.objects.get()
    assert "Invalid" in row.warnings[0]
    assert api.token not in row.warnings[0] + Row.objects.get().error
    assert api.token not in "".join(path.read_text() for path in _files(live.settings))


def _files(settings: OpsSettings) -> list[Any]:
    return [path for path in settings.state_dir.rglob("*") if path.is_file()]


def test_a_page_that_is_none_is_a_warning_that_names_the_setting(live: Deploy) -> None:
    live.settings = replace(live.settings, purge_paths=("about/",))

    (warning,) = run(live).warnings

    assert "OPS_PURGE_PATHS has 'about/', which is no path of the site." in warning


def test_a_second_run_after_a_kill_purges_again_and_closes_the_row_that_was_left(
    live: Deploy, api: CloudflareApi
) -> None:
    left = Row.objects.create(
        where="example.org", deployment_uid=live.uid, started_at=timezone.now()
    )

    Purge().run(live)
    Purge().run(live)

    assert api.purged[0] == api.purged[1]
    assert Row.objects.get(pk=left.pk).status == "partly"
    assert Row.objects.filter(status="purged").count() == 2


def test_with_postgres_down_it_purges_and_says_that_it_is_not_recorded(
    live: Deploy, api: CloudflareApi, database: PostgresServer
) -> None:
    said: list[str] = []
    live.say = said.append
    database.stop()

    assert Purge().run(live) == "5 purged at example.org"
    assert "Postgres does not answer: this purge is not recorded." in said


def test_the_history_shows_what_was_purged_as_text_and_nothing_else() -> None:
    row = Row(
        status="partly",
        where="example.org",
        what={"files": ["https://example.org/<script>"], "purge_everything": [""]},
        total=1200,
        purged=1100,
        left=["--url=https://example.org/<script>"],
        started_at=timezone.now(),
    )
    page = PurgeAdmin(Row, AdminSite())

    assert page.done(row) == "1,100 of 1,200"
    assert "<li><code>files https://example.org/&lt;script&gt;</code></li>" in page.asked_for(row)
    assert "<code>--url=https://example.org/&lt;script&gt;</code>" in page.remaining(row)
    assert "partly" in page.state(row)
