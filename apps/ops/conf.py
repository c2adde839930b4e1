"""All that can be set about operations, read once from the environment into one typed object.

`settings.OPS` is the only instance a project needs. Each field names its variable, and
`.env.example` describes the same variables: a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import environ

# Where the image has what collectstatic made: a deployment reads it there.
IMAGE_STATIC = "/app/staticfiles"


def _env(name: str, default: object) -> Any:
    return field(default=default, metadata={"env": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsSettings:
    """How this project is deployed. `_seconds` are seconds, `_mb` are 10^6 bytes."""

    # Where things are, as the utility container sees them.
    project: str = _env("COMPOSE_PROJECT_NAME", "changeover")
    checkout: Path = _env("OPS_CHECKOUT", Path())
    compose_files: tuple[str, ...] = _env("COMPOSE_FILE", ("compose.prod.yml",))
    state_dir: Path = _env("OPS_STATE_DIR", Path("/var/lib/changeover"))
    edge_dir: Path = _env("OPS_EDGE_DIR", Path("/srv/edge"))
    static_dir: Path = _env("OPS_STATIC_DIR", Path("/srv/static"))
    secrets_dir: Path = _env("OPS_SECRETS_DIR", Path("/run/secrets"))
    caddy_admin: Path = _env("OPS_CADDY_ADMIN", Path("/run/caddy/admin.sock"))
    probe_address: str = _env("OPS_PROBE_ADDRESS", "caddy:2020")
    site_host: str = _env("SITE_HOST", "localhost")

    # What is deployed.
    remote: str = _env("OPS_REMOTE", "origin")
    branch: str = _env("OPS_BRANCH", "main")
    # Who may have what deployed. Empty request_refs: the branch.
    request_refs: tuple[str, ...] = _env("OPS_REQUEST_REFS", ())
    require_signed: str = _env("OPS_REQUIRE_SIGNED", "")
    allowed_signers: str = _env("OPS_ALLOWED_SIGNERS", ".ssh/allowed_signers")
    fresh_password_seconds: float = _env("OPS_FRESH_PASSWORD_SECONDS", 600.0)
    smoke_paths: tuple[str, ...] = _env("OPS_SMOKE_PATHS", ("/",))

    # How careful a deploy is.
    settle_seconds: float = _env("OPS_SETTLE_SECONDS", 2.0)
    bake_seconds: float = _env("OPS_BAKE_SECONDS", 30.0)
    bake_min_requests: int = _env("OPS_BAKE_MIN_REQUESTS", 20)
    bake_error_points: float = _env("OPS_BAKE_ERROR_POINTS", 5.0)
    bake_slower_factor: float = _env("OPS_BAKE_SLOWER_FACTOR", 3.0)
    keep_standby: bool = _env("OPS_KEEP_STANDBY", True)
    keep_releases: int = _env("OPS_KEEP_RELEASES", 5)
    min_free_mb: int = _env("OPS_MIN_FREE_MB", 1000)

    # How long each part of it may take before it counts as hung.
    fetch_seconds: float = _env("OPS_FETCH_SECONDS", 120.0)
    build_seconds: float = _env("OPS_BUILD_SECONDS", 1800.0)
    migrate_seconds: float = _env("OPS_MIGRATE_SECONDS", 600.0)
    lock_timeout_seconds: float = _env("OPS_LOCK_TIMEOUT_SECONDS", 1.0)
    lock_attempts: int = _env("OPS_LOCK_ATTEMPTS", 10)
    large_table_rows: int = _env("OPS_LARGE_TABLE_ROWS", 100_000)
    start_seconds: float = _env("OPS_START_SECONDS", 60.0)
    canary_seconds: float = _env("OPS_CANARY_SECONDS", 60.0)
    drain_seconds: float = _env("OPS_DRAIN_SECONDS", 40.0)

    # Backups.
    backup_dir: Path = _env("OPS_BACKUP_DIR", Path("/var/backups/changeover"))
    backup_keep: int = _env("OPS_BACKUP_KEEP", 14)
    backup_keep_days: int = _env("OPS_BACKUP_KEEP_DAYS", 30)
    backup_seconds: float = _env("OPS_BACKUP_SECONDS", 3600.0)
    backup_media: bool = _env("OPS_BACKUP_MEDIA", False)

    # The CDN in front of static and media.
    cloudflare_token: str = _env("OPS_CLOUDFLARE_TOKEN", "")
    cloudflare_zone: str = _env("OPS_CLOUDFLARE_ZONE", "")
    cloudflare_api: str = _env("OPS_CLOUDFLARE_API", "https://api.cloudflare.com/client/v4")
    purge_paths: tuple[str, ...] = _env("OPS_PURGE_PATHS", ("/",))

    # Health: the deadline of each check, and from where on something is bad.
    health_checks: tuple[str, ...] = _env("OPS_HEALTH_CHECKS", ())
    health_seconds: float = _env("OPS_HEALTH_SECONDS", 2.5)
    health_flips: int = _env("OPS_HEALTH_FLIPS", 1000)
    health_connections_percent: float = _env("OPS_HEALTH_CONNECTIONS_PERCENT", 80.0)
    health_transaction_seconds: float = _env("OPS_HEALTH_TRANSACTION_SECONDS", 600.0)
    health_queue_tasks: int = _env("OPS_HEALTH_QUEUE_TASKS", 1000)
    health_queue_seconds: float = _env("OPS_HEALTH_QUEUE_SECONDS", 600.0)
    health_canary_seconds: float = _env("OPS_HEALTH_CANARY_SECONDS", 900.0)
    health_failed_percent: float = _env("OPS_HEALTH_FAILED_PERCENT", 20.0)
    health_disk_percent: float = _env("OPS_HEALTH_DISK_PERCENT", 90.0)
    health_memory_percent: float = _env("OPS_HEALTH_MEMORY_PERCENT", 95.0)
    health_certificate_days: float = _env("OPS_HEALTH_CERTIFICATE_DAYS", 14.0)
    health_image_days: float = _env("OPS_HEALTH_IMAGE_DAYS", 60.0)
    health_backup_hours: float = _env("OPS_HEALTH_BACKUP_HOURS", 26.0)
    health_clock_seconds: float = _env("OPS_HEALTH_CLOCK_SECONDS", 5.0)

    # Whom a flip of a check is told.
    notify_emails: tuple[str, ...] = _env("OPS_NOTIFY_EMAILS", ())
    notify_webhooks: tuple[str, ...] = _env("OPS_NOTIFY_WEBHOOKS", ())
    notify_slack: tuple[str, ...] = _env("OPS_NOTIFY_SLACK", ())
    notify_after_seconds: float = _env("OPS_NOTIFY_AFTER_SECONDS", 120.0)
    ping_url: str = _env("OPS_PING_URL", "")

    # The agent.
    crontab: Path = _env("OPS_CRONTAB", Path("docker/crontab"))
    job_seconds: float = _env("OPS_JOB_SECONDS", 3600.0)
    job_runs: int = _env("OPS_JOB_RUNS", 100)
    recover_after_seconds: float = _env("OPS_RECOVER_AFTER_SECONDS", 15.0)
    supervisor_socket: Path = _env("OPS_SUPERVISOR_SOCKET", Path("/run/changeover/supervisor.sock"))

    # What the compose file and gunicorn are told; here so that checks can hold them together.
    web_workers: int = _env("WEB_WORKERS", 2)
    web_threads: int = _env("WEB_THREADS", 16)
    postgres_max_connections: int = _env("POSTGRES_MAX_CONNECTIONS", 200)
    web_request_seconds: int = _env("WEB_REQUEST_SECONDS", 30)
    web_graceful_seconds: int = _env("WEB_GRACEFUL_SECONDS", 35)
    web_stop_grace_seconds: int = _env("WEB_STOP_GRACE_SECONDS", 45)
    worker_processes: int = _env("WORKER_PROCESSES", 2)
    task_seconds: int = _env("WORKER_TASK_SECONDS", 60)
    worker_stop_grace_seconds: int = _env("WORKER_STOP_GRACE_SECONDS", 200)

    # From a laptop: where the site runs.
    servers: tuple[str, ...] = _env("OPS_SERVERS", ())

    # Variables of the project's own whose values may be shown: all others are secret.
    public_variables: tuple[str, ...] = _env("OPS_PUBLIC_VARIABLES", ())

    # Who asks, as the shell that ran `docker compose run` knows them.
    requested_by: str = _env("OPS_REQUESTED_BY", "")
    requested_from: str = _env("OPS_REQUESTED_FROM", "")

    @classmethod
    def from_env(cls, env: environ.Env) -> OpsSettings:
        """Read every field's variable.

        Raises:
            ImproperlyConfigured: a value is not of its field's type; names the variable.
        """
        return cls(**{f.name: _read(env, f.metadata["env"], f.default) for f in fields(cls)})

    @classmethod
    def variables(cls) -> Mapping[str, object]:
        """Each environment variable that is read, with its default."""
        return {f.metadata["env"]: f.default for f in fields(cls)}


def _read(env: environ.Env, name: str, default: Any) -> Any:
    from django.core.exceptions import ImproperlyConfigured

    raw = env.str(name, default="").strip()
    if not raw:
        return default
    try:
        match default:
            case bool():
                return _boolean(raw)
            case tuple():
                separator = ":" if name == "COMPOSE_FILE" else ","
                return tuple(part.strip() for part in raw.split(separator) if part.strip())
            case _:
                value = type(default)(raw)
    except ValueError:
        kind = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
        }
        raise ImproperlyConfigured(
            f"{name} must be {kind[type(default)]}, and is {raw!r}."
        ) from None
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        raise ImproperlyConfigured(f"{name} must not be negative or endless, and is {raw!r}.")
    return value


def _boolean(raw: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if raw.lower() not in words:
        raise ValueError(raw)
    return words[raw.lower()]
