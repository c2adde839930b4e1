"""Each check id: what it says, to the letter, and when it has nothing to say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from pytest_django import Settings

from apps.ops import names
from apps.ops.conf import OpsSettings

ROOT = Path(__file__).parents[3]
HEALTH = "apps.ops.middleware.HealthMiddleware"
RELEASE = "apps.ops.middleware.ReleaseHeaderMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
PLAIN_STATIC = "django.contrib.staticfiles.storage.StaticFilesStorage"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


class Project:
    """The site as an image in production has it, to be misconfigured."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.settings = settings
        self.root = root
        self.patch = patch
        settings.DEBUG = False
        settings.RELEASE = "3f2c9a17d04b5e86a1c7f0e2b94d6853c1aa77e0"
        settings.SECRET_KEY = "k" * 64
        settings.OPS = OpsSettings()
        settings.ALLOWED_HOSTS = names.allowed(settings.OPS)
        settings.STATIC_ROOT = "/app/staticfiles"
        settings.MEDIA_ROOT = "/srv/media"
        # What django-q2 is told follows from OPS, as in config/settings.py.
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "timeout": 60, "retry": 190, "workers": 2}
        self.ops(worker_stop_grace_seconds=190.0)
        self.database(PASSWORD="p")

    def ops(self, **changes: Any) -> None:
        self.settings.OPS = replace(self.settings.OPS, **changes)

    def q(self, **changes: Any) -> None:
        self.settings.Q_CLUSTER = {**self.settings.Q_CLUSTER, **changes}

    def without_q(self, name: str) -> None:
        self.settings.Q_CLUSTER = {k: v for k, v in self.settings.Q_CLUSTER.items() if k != name}

    def middleware(self, *names: str) -> None:
        self.settings.MIDDLEWARE = list(names)

    def database(self, **changes: Any) -> None:
        # In place, because Django warns when the setting is assigned; no connection is made here.
        default = self.settings.DATABASES["default"]
        self.patch.setitem(self.settings.DATABASES, "default", {**default, **changes})

    def found(self) -> list[checks.CheckMessage]:
        return checks.run_checks(tags=["ops"], include_deployment_checks=True)


@pytest.fixture
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    return Project(settings, monkeypatch, tmp_path)


def static_storage(backend: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        storages = project.settings.STORAGES
        project.settings.STORAGES = {**storages, "staticfiles": {"BACKEND": backend}}

    return change


def setting(name: str, value: object) -> Callable[[Project], None]:
    return lambda project: setattr(project.settings, name, value)


def ops(**changes: Any) -> Callable[[Project], None]:
    return lambda project: project.ops(**changes)


def q(**changes: Any) -> Callable[[Project], None]:
    return lambda project: project.q(**changes)


def gunicorn(text: str, arguments: str = "") -> Callable[[Project], None]:
    """What gunicorn is told by its file and by the environment."""

    def change(project: Project) -> None:
        file = project.root / "config/gunicorn.conf.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        project.settings.BASE_DIR = project.root
        project.patch.setenv("GUNICORN_CMD_ARGS", arguments)

    return change


CASES: list[tuple[str, Callable[[Project], None], str, str]] = [
    (
        "ops.E001",
        ops(web_request_seconds=0.0),
        "WEB_REQUEST_SECONDS is 0: a request may take for ever, and no drain waits for that.",
        "Set it to the longest that a request may take, for example 30.",
    ),
    (
        "ops.E002",
        ops(drain_seconds=29.5),
        (
            "OPS_DRAIN_SECONDS (29.5) is less than WEB_REQUEST_SECONDS (30): the old colour would "
            "be stopped under requests that may still run."
        ),
        "Set OPS_DRAIN_SECONDS to 30 or more.",
    ),
    (
        "ops.E003",
        ops(web_graceful_seconds=30.0),
        (
            "WEB_GRACEFUL_SECONDS (30) is not more than WEB_REQUEST_SECONDS (30): a stopping "
            "gunicorn would cut requests that may still run."
        ),
        "Set WEB_GRACEFUL_SECONDS to more than 30.",
    ),
    (
        "ops.E003",
        ops(web_stop_grace_seconds=35.0),
        (
            "WEB_STOP_GRACE_SECONDS (35) is not more than WEB_GRACEFUL_SECONDS (35): Docker would "
            "kill gunicorn while it answers."
        ),
        "Set WEB_STOP_GRACE_SECONDS to more than 35.",
    ),
    (
        "ops.E004",
        q(retry=60),
        (
            'Q_CLUSTER["retry"] (60) is not more than Q_CLUSTER["timeout"] (60): a task that still '
            "runs would be handed out again and run twice."
        ),
        'Set "retry" to more than 60.',
    ),
    (
        "ops.E005",
        ops(worker_stop_grace_seconds=60.0),
        (
            'WORKER_STOP_GRACE_SECONDS (60) is not more than Q_CLUSTER["timeout"] (60): Docker '
            "would kill the worker with a task in its hands."
        ),
        "Set WORKER_STOP_GRACE_SECONDS to more than 60.",
    ),
    (
        "ops.E006",
        lambda project: project.without_q("timeout"),
        'Q_CLUSTER["timeout"] is not set: a task that hangs would hold its worker for ever.',
        'Set "timeout" to the longest that a task may take, for example 60.',
    ),
    (
        "ops.E007",
        ops(lock_timeout_seconds=0.0),
        (
            "OPS_LOCK_TIMEOUT_SECONDS is 0 (0 is for ever): requests queue behind a migration that "
            "waits for its lock, and would be killed there."
        ),
        "Set it to more than 0 and less than WEB_REQUEST_SECONDS (30).",
    ),
    (
        "ops.E007",
        ops(lock_timeout_seconds=30.0),
        (
            "OPS_LOCK_TIMEOUT_SECONDS is 30 (0 is for ever): requests queue behind a migration "
            "that waits for its lock, and would be killed there."
        ),
        "Set it to more than 0 and less than WEB_REQUEST_SECONDS (30).",
    ),
    (
        "ops.E010",
        q(orm=None, broker_class=None),
        (
            'Q_CLUSTER has no "orm": tasks would be queued in Redis, which is a cache here and '
            "forgets."
        ),
        'Set "orm": "default", so that the database keeps them.',
    ),
    (
        "ops.E015",
        lambda project: project.without_q("broker_class"),
        (
            'Q_CLUSTER has no "broker_class": tasks are taken in no order, and the canary of a '
            "deployment would wait behind all that are queued."
        ),
        'Set "broker_class": "apps.ops.broker.FirstInFirstOut".',
    ),
    (
        "ops.E011",
        q(queue_limit=3, retry=300),
        (
            'Q_CLUSTER["queue_limit"] is 3 for 2 worker processes: tasks would wait in memory '
            "until they are handed out again, or the worker is killed."
        ),
        'Set "queue_limit" to 2 or less.',
    ),
    (
        "ops.E011",
        q(queue_limit=0),
        (
            'Q_CLUSTER["queue_limit"] is 0 (endless) for 2 worker processes: tasks would wait in '
            "memory until they are handed out again, or the worker is killed."
        ),
        'Set "queue_limit" to 2 or less.',
    ),
    (
        "ops.E012",
        lambda project: project.without_q("max_attempts"),
        (
            'Q_CLUSTER["max_attempts"] is not set: a task that kills its worker would be tried for '
            "ever."
        ),
        'Set "max_attempts": 5.',
    ),
    (
        "ops.E013",
        q(ack_failures=False),
        'Q_CLUSTER["ack_failures"] is off: a task that failed would run again and again.',
        'Set "ack_failures": True. Failed tasks are kept, and run again when you say so.',
    ),
    (
        "ops.E014",
        q(sync=True),
        (
            'Q_CLUSTER["sync"] is on: tasks would run inside the request that asks for them, and '
            "be lost with it."
        ),
        'Take "sync" out; it is for tests.',
    ),
    (
        "ops.E020",
        lambda project: project.middleware(RELEASE, SECURITY, COMMON),
        f"{HEALTH} is not in MIDDLEWARE: no candidate would ever be ready.",
        f'Put "{HEALTH}" at the top of MIDDLEWARE.',
    ),
    (
        "ops.E020",
        lambda project: project.middleware(HEALTH, SECURITY, COMMON),
        f"{RELEASE} is not in MIDDLEWARE: nothing would tell a deployment which release answers.",
        f'Put "{RELEASE}" at the top of MIDDLEWARE.',
    ),
    (
        "ops.E021",
        lambda project: project.middleware(RELEASE, COMMON, HEALTH, SECURITY),
        f"{HEALTH} stands after {COMMON} in MIDDLEWARE, which answers some requests before it.",
        f'Put "{HEALTH}" at the top of MIDDLEWARE.',
    ),
    (
        "ops.E021",
        lambda project: project.middleware(HEALTH, SECURITY, RELEASE),
        f"{RELEASE} stands after {SECURITY} in MIDDLEWARE, which answers some requests before it.",
        f'Put "{RELEASE}" at the top of MIDDLEWARE.',
    ),
    (
        "ops.E022",
        setting("USE_X_FORWARDED_HOST", True),
        (
            "USE_X_FORWARDED_HOST is on: through the CDN anybody can name the site as they like, "
            "in links that it mails too."
        ),
        "Take it out: Caddy passes the Host that was asked for.",
    ),
    (
        "ops.E023",
        setting("SECURE_PROXY_SSL_HEADER", None),
        (
            "SECURE_SSL_REDIRECT is on and SECURE_PROXY_SSL_HEADER is None: HTTPS ends at Caddy, "
            "so every request would be redirected to itself for ever."
        ),
        "Set SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https').",
    ),
    (
        "ops.E024",
        ops(site_hosts=("https://example.org",)),
        (
            "SITE_HOSTS has 'https://example.org', which is not a name alone (it has a scheme): "
            "neither Caddy nor Django would answer for it."
        ),
        "Write names without scheme, port and path, like example.org, each once.",
    ),
    (
        "ops.E026",
        ops(trusted_proxies=("private_ranges", "cdn.example")),
        "TRUSTED_PROXIES has 'cdn.example', which is no address: Caddy would not start.",
        "Write private_ranges, or addresses and ranges like 192.0.2.0/24, separated by commas.",
    ),
    (
        "ops.E027",
        gunicorn("workers = 0 / 0\n"),
        (
            "config/gunicorn.conf.py or GUNICORN_CMD_ARGS cannot be read (ZeroDivisionError: "
            "division by zero): no candidate would start."
        ),
        "Try it: gunicorn --check-config --config config/gunicorn.conf.py config.wsgi",
    ),
    (
        "ops.W010",
        gunicorn("workers = 2\nmax_requests = 1000\nmax_requests_jitter = 50\n"),
        (
            "gunicorn's max_requests is 1000, with a jitter of 50 and 2 workers: they reach it at "
            "about the same time, and one that has takes no request until its longest has ended "
            "(30 s), so that nobody may answer."
        ),
        (
            "Take it out: each deployment starts new workers, and WEB_MEMORY bounds a leak. Or set "
            "max_requests_jitter to 1000 and WEB_WORKERS to 4, or more."
        ),
    ),
    (
        "ops.W009",
        setting("ALLOWED_HOSTS", ["localhost", "testserver", "shop.example"]),
        "ALLOWED_HOSTS has 'shop.example', which Caddy does not serve: it answers 421 to that.",
        "Put it into SITE_HOSTS, or into SITE_ALIASES if it is to lead to SITE_HOST.",
    ),
    (
        "ops.E025",
        ops(smoke_paths=("/", "about/")),
        (
            "OPS_SMOKE_PATHS names 'about/', which does not begin with \"/\": no candidate could "
            "answer it."
        ),
        "Write /about/ in its place.",
    ),
    (
        "ops.E030",
        lambda project: project.database(ENGINE="django.db.backends.sqlite3"),
        (
            'DATABASES["default"] is django.db.backends.sqlite3: the history, its lock and the '
            "task queue need PostgreSQL."
        ),
        'Set "ENGINE": "django.db.backends.postgresql".',
    ),
    (
        "ops.E031",
        lambda project: project.database(OPTIONS={"prepare_threshold": 5}),
        (
            'DATABASES["default"] prepares statements ("prepare_threshold"): after a migration the '
            'live colour\'s fail with "cached plan must not change result type".'
        ),
        'Take "prepare_threshold" out of "OPTIONS".',
    ),
    (
        "ops.E032",
        lambda project: project.database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False),
        (
            'DATABASES["default"] keeps connections without checking them: after a restart of '
            "Postgres each one fails a request."
        ),
        'Set "CONN_HEALTH_CHECKS": True.',
    ),
    (
        "ops.E033",
        static_storage(PLAIN_STATIC),
        (
            f'STORAGES["staticfiles"] is {PLAIN_STATIC}, whose file names do not change with their '
            "content: pages of one release would get the styles and scripts of the other."
        ),
        "Use django.contrib.staticfiles.storage.ManifestStaticFilesStorage.",
    ),
    (
        "ops.E034",
        setting("STATIC_ROOT", "/srv/static"),
        (
            "STATIC_ROOT is '/srv/static': a deployment publishes what the image has in "
            "/app/staticfiles, and would find nothing new there."
        ),
        'Set STATIC_ROOT = BASE_DIR / "staticfiles", which is /app/staticfiles in the image.',
    ),
    (
        "ops.E035",
        setting("MEDIA_ROOT", "/app/media"),
        (
            "MEDIA_ROOT is '/app/media', inside the container: what users upload would be gone "
            "with the next deployment."
        ),
        "Set MEDIA_ROOT=/srv/media, the volume that both colours and Caddy mount.",
    ),
    (
        "ops.E036",
        setting("SESSION_ENGINE", "django.contrib.sessions.backends.file"),
        (
            "SESSION_ENGINE is django.contrib.sessions.backends.file, which keeps sessions inside "
            "one container: the swap would sign everybody out."
        ),
        'Set SESSION_ENGINE = "apps.ops.sessions".',
    ),
    (
        "ops.E037",
        ops(web_workers=8),
        (
            "Two colours with 8 x 16 web threads each, the worker and the tools can want 278 "
            "connections, and POSTGRES_MAX_CONNECTIONS is 200: in a deployment visitors would get "
            "errors."
        ),
        "Set POSTGRES_MAX_CONNECTIONS to 278 or more, and recreate postgres.",
    ),
    (
        "ops.E040",
        setting("DEBUG", True),
        (
            "DEBUG is on: error pages would show the settings and the code to everybody, and "
            "static files would have no hashes."
        ),
        "Take DEBUG out of .env.",
    ),
    (
        "ops.E041",
        setting("SECRET_KEY", "k" * 49),
        (
            "SECRET_KEY has 49 characters: who guesses it signs in as anybody, and queues tasks "
            "that run any code."
        ),
        (
            "Set it to what `openssl rand -base64 48` prints. Let the task queue run empty first: "
            "queued tasks are signed with it."
        ),
    ),
    (
        "ops.E042",
        lambda project: project.database(PASSWORD=""),
        "POSTGRES_PASSWORD is empty.",
        (
            "Set it to what the database was created with; for a new one, to what `openssl rand "
            "-hex 24` prints."
        ),
    ),
    (
        "ops.W001",
        q(retry=180),
        (
            "A task can end up to 180 s after a worker took it (3 may wait for 2 processes), and "
            'Q_CLUSTER["retry"] is 180: when tasks take as long as they may, some run twice.'
        ),
        'Set "retry" to more than 180.',
    ),
    (
        "ops.W002",
        ops(worker_stop_grace_seconds=180.0),
        (
            "A stopping worker finishes what it took, which can take 180 s, and "
            "WORKER_STOP_GRACE_SECONDS is 180: Docker would kill it, and what it had not finished "
            "runs again."
        ),
        "Set WORKER_STOP_GRACE_SECONDS to more than 180.",
    ),
    (
        "ops.W003",
        ops(settle_seconds=0.0),
        "OPS_SETTLE_SECONDS is 0: traffic moves on a candidate's first ready answer.",
        "Set it to 2, so that one which starts and falls over gets no traffic.",
    ),
    (
        "ops.W004",
        ops(keep_releases=1),
        (
            "OPS_KEEP_RELEASES is 1: deploying one commit twice would remove the image of the "
            "release before it, the way back."
        ),
        "Set it to 2 or more.",
    ),
    (
        "ops.W005",
        ops(smoke_paths=()),
        "OPS_SMOKE_PATHS names no path: a candidate whose every page fails would go live.",
        "Name a page or two that must work, separated by commas; / is the default.",
    ),
    (
        "ops.W006",
        setting("CACHES", {"default": {"BACKEND": LOCMEM}}),
        (
            f'CACHES["default"] is {LOCMEM}: every container has its own, so what one colour '
            "changes or deletes stays in the other."
        ),
        "Use apps.ops.cache.RedisCache.",
    ),
    (
        "ops.W007",
        setting("SESSION_ENGINE", "django.contrib.sessions.backends.cache"),
        (
            "SESSION_ENGINE is django.contrib.sessions.backends.cache: the cache forgets when it "
            "is full or restarted, and signs people out."
        ),
        'Set SESSION_ENGINE = "apps.ops.sessions".',
    ),
    (
        "ops.W008",
        setting("AUTHENTICATION_BACKENDS", ["django.contrib.auth.backends.ModelBackend"]),
        (
            "AUTHENTICATION_BACKENDS begins with django.contrib.auth.backends.ModelBackend: "
            "passwords can be tried without an end."
        ),
        'Put "apps.ops.logins.Throttle" before the others.',
    ),
]


@pytest.mark.parametrize(
    ("identifier", "misconfigure", "message", "hint"), CASES, ids=[case[0] for case in CASES]
)
def test_a_misconfiguration_is_named_with_what_to_set(
    project: Project,
    identifier: str,
    misconfigure: Callable[[Project], None],
    message: str,
    hint: str,
) -> None:
    misconfigure(project)

    (found,) = project.found()

    kind = checks.Error if identifier.startswith("ops.E") else checks.Warning
    assert (found.id, found.msg, found.hint, type(found)) == (identifier, message, hint, kind)


def test_a_site_that_is_set_up_well_is_told_nothing(project: Project) -> None:
    assert project.found() == []


def test_every_id_in_the_code_is_tested() -> None:
    code = "".join(file.read_text() for file in (ROOT / "apps/ops/checks").glob("*.py"))

    assert set(re.findall(r'id="(ops\.[EW]\d{3})"', code)) == {case[0] for case in CASES}


@pytest.mark.parametrize("name", ["localhost", "example.org", "a.b-c.example.org", "192.0.2.1"])
def test_a_name_alone_is_a_site_host(project: Project, name: str) -> None:
    project.ops(site_host=name)
    project.settings.ALLOWED_HOSTS = []

    assert project.found() == []


@pytest.mark.parametrize(
    "name", ["example.org:8443", "example.org/", "//example.org", "a b", "*.example.org", "[::1]"]
)
def test_anything_with_more_than_a_name_is_not_a_site_host(project: Project, name: str) -> None:
    project.ops(site_host=name)
    project.settings.ALLOWED_HOSTS = []

    assert [m.id for m in project.found()] == ["ops.E024"]


@pytest.mark.parametrize(
    ("text", "arguments", "warned"),
    [
        ("workers = 2\n", "--max-requests 500 --workers=8", True),
        ("max_requests = 500\nmax_requests_jitter = 500\nworkers = 2\n", "--workers 3", True),
        ("max_requests = 500\nmax_requests_jitter = 500\nworkers = 2\n", "--workers 4", False),
        ("max_requests = 500\n", "--max-requests=0", False),
        ("def when_ready(server):\n    pass\nown = 1\n", "", False),
    ],
)
def test_workers_that_end_together_are_warned_of(
    project: Project, text: str, arguments: str, warned: bool
) -> None:
    gunicorn(text, arguments)(project)

    assert [m.id for m in project.found()] == ["ops.W010"] * warned


def test_two_colours_of_one_container_cache_would_sign_everybody_out(project: Project) -> None:
    project.settings.CACHES = {"default": {"BACKEND": LOCMEM}}
    project.settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    assert sorted(m.id or "" for m in project.found()) == ["ops.E036", "ops.W006"]


def test_a_broker_that_is_not_redis_may_keep_the_tasks_too(project: Project) -> None:
    project.without_q("orm")
    project.q(broker_class="somewhere.Durable")

    assert project.found() == []


def test_uploads_that_go_elsewhere_than_to_disk_need_no_volume(project: Project) -> None:
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    project.settings.STORAGES = {**project.settings.STORAGES, "default": memory}
    project.settings.MEDIA_ROOT = ""

    assert project.found() == []


def test_a_clone_on_a_developers_machine_has_its_directories_where_it_likes(
    project: Project,
) -> None:
    project.settings.RELEASE = "unreleased"
    project.settings.STATIC_ROOT = "/home/ada/site/staticfiles"
    project.settings.MEDIA_ROOT = "/home/ada/site/media"

    assert project.found() == []


def test_a_developers_machine_may_differ_where_nothing_is_lost(project: Project) -> None:
    project.settings.DEBUG = True
    project.settings.SECRET_KEY = "short"
    project.database(PASSWORD="")
    project.q(sync=True)
    static_storage(PLAIN_STATIC)(project)
    project.settings.CACHES = {"default": {"BACKEND": LOCMEM}}

    assert checks.run_checks(tags=["ops"]) == []


def test_this_project_as_it_is_has_no_warning_of_its_own(settings: Settings) -> None:
    # As an image has it, with nothing but the required variables.
    settings.SECRET_KEY = "k" * 64
    settings.MEDIA_ROOT = "/srv/media"

    found = checks.run_checks(tags=["ops"], include_deployment_checks=True)

    assert found == []
