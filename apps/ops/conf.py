"""All that can be set about operations, read once from the environment into one typed object.

`settings.OPS` is the only instance a project needs. Each field declares its variable, and
`.env.example` describes the same variables: a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from apps.ops import kinds
from apps.ops.variables import Declared, variable

# Where the image has what collectstatic made: a deployment reads it there.
IMAGE_STATIC = "/app/staticfiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsSettings(Declared):
    """How this project is deployed. `_seconds` are seconds, `_mb` are 10^6 bytes."""

    # Where things are, as the utility container sees them.
    project: str = variable("COMPOSE_PROJECT_NAME", "changeover", public=True)
    checkout: Path = variable("OPS_CHECKOUT", Path())
    compose_files: tuple[str, ...] = variable(
        "COMPOSE_FILE", ("compose.prod.yml",), kinds.FILES, public=True
    )
    state_dir: Path = variable("OPS_STATE_DIR", Path("/var/lib/changeover"))
    edge_dir: Path = variable("OPS_EDGE_DIR", Path("/srv/edge"))
    static_dir: Path = variable("OPS_STATIC_DIR", Path("/srv/static"))
    secrets_dir: Path = variable("OPS_SECRETS_DIR", Path("/run/secrets"))
    caddy_admin: Path = variable("OPS_CADDY_ADMIN", Path("/run/caddy/admin.sock"))
    probe_address: str = variable(
        "OPS_PROBE_ADDRESS", "caddy:2020", kinds.HOST_AND_PORT, public=True
    )
    # Its names (apps/ops/names.py), and whose word Caddy takes for a visitor's address and scheme.
    site_host: str = variable("SITE_HOST", "localhost", kinds.HOST, public=True)
    site_hosts: tuple[str, ...] = variable("SITE_HOSTS", (), public=True)
    site_aliases: tuple[str, ...] = variable("SITE_ALIASES", (), public=True)
    site_www: bool = variable("SITE_WWW", True)
    trusted_proxies: tuple[str, ...] = variable("TRUSTED_PROXIES", (), public=True)

    # What is deployed.
    remote: str = variable("OPS_REMOTE", "origin", public=True)
    branch: str = variable("OPS_BRANCH", "main", public=True)
    # Who may have what deployed. Empty request_refs: the branch.
    request_refs: tuple[str, ...] = variable("OPS_REQUEST_REFS", (), public=True)
    require_signed: str = variable(
        "OPS_REQUIRE_SIGNED", "", kinds.one_of("commits", "tags"), public=True
    )
    allowed_signers: str = variable("OPS_ALLOWED_SIGNERS", ".ssh/allowed_signers", public=True)
    fresh_password_seconds: float = variable("OPS_FRESH_PASSWORD_SECONDS", 600.0)
    smoke_paths: tuple[str, ...] = variable("OPS_SMOKE_PATHS", ("/",), kinds.PATHS, public=True)

    # How careful a deploy is.
    settle_seconds: float = variable("OPS_SETTLE_SECONDS", 2.0)
    bake_seconds: float = variable("OPS_BAKE_SECONDS", 30.0)
    bake_min_requests: int = variable("OPS_BAKE_MIN_REQUESTS", 20)
    bake_error_points: float = variable("OPS_BAKE_ERROR_POINTS", 5.0)
    bake_slower_factor: float = variable("OPS_BAKE_SLOWER_FACTOR", 3.0)
    keep_standby: bool = variable("OPS_KEEP_STANDBY", True)
    keep_releases: int = variable("OPS_KEEP_RELEASES", 5)
    min_free_mb: int = variable("OPS_MIN_FREE_MB", 1000)

    # How long each part of it may take before it counts as hung.
    fetch_seconds: float = variable("OPS_FETCH_SECONDS", 120.0)
    build_seconds: float = variable("OPS_BUILD_SECONDS", 1800.0)
    migrate_seconds: float = variable("OPS_MIGRATE_SECONDS", 600.0)
    lock_timeout_seconds: float = variable("OPS_LOCK_TIMEOUT_SECONDS", 1.0)
    lock_attempts: int = variable("OPS_LOCK_ATTEMPTS", 10)
    large_table_rows: int = variable("OPS_LARGE_TABLE_ROWS", 100_000)
    start_seconds: float = variable("OPS_START_SECONDS", 60.0)
    canary_seconds: float = variable("OPS_CANARY_SECONDS", 60.0)
    drain_seconds: float = variable("OPS_DRAIN_SECONDS", 40.0)

    # Backups.
    backup_dir: Path = variable("OPS_BACKUP_DIR", Path("/var/backups/changeover"))
    backup_keep: int = variable("OPS_BACKUP_KEEP", 14)
    backup_keep_days: int = variable("OPS_BACKUP_KEEP_DAYS", 30)
    backup_seconds: float = variable("OPS_BACKUP_SECONDS", 3600.0)
    backup_media: bool = variable("OPS_BACKUP_MEDIA", False)

    # The CDN in front of static and media.
    cloudflare_token: str = variable("OPS_CLOUDFLARE_TOKEN", "")
    cloudflare_zone: str = variable("OPS_CLOUDFLARE_ZONE", "", public=True)
    cloudflare_api: str = variable(
        "OPS_CLOUDFLARE_API", "https://api.cloudflare.com/client/v4", kinds.WEB_ADDRESS, public=True
    )
    purge_paths: tuple[str, ...] = variable("OPS_PURGE_PATHS", ("/",), kinds.PATHS, public=True)

    # Health: the deadline of each check, and from where on something is bad.
    health_checks: tuple[str, ...] = variable("OPS_HEALTH_CHECKS", (), public=True)
    health_seconds: float = variable("OPS_HEALTH_SECONDS", 2.5)
    health_flips: int = variable("OPS_HEALTH_FLIPS", 1000)
    health_connections_percent: float = variable("OPS_HEALTH_CONNECTIONS_PERCENT", 80.0)
    health_transaction_seconds: float = variable("OPS_HEALTH_TRANSACTION_SECONDS", 600.0)
    health_queue_tasks: int = variable("OPS_HEALTH_QUEUE_TASKS", 1000)
    health_queue_seconds: float = variable("OPS_HEALTH_QUEUE_SECONDS", 600.0)
    health_canary_seconds: float = variable("OPS_HEALTH_CANARY_SECONDS", 900.0)
    health_failed_percent: float = variable("OPS_HEALTH_FAILED_PERCENT", 20.0)
    health_disk_percent: float = variable("OPS_HEALTH_DISK_PERCENT", 90.0)
    health_memory_percent: float = variable("OPS_HEALTH_MEMORY_PERCENT", 95.0)
    health_certificate_days: float = variable("OPS_HEALTH_CERTIFICATE_DAYS", 14.0)
    health_image_days: float = variable("OPS_HEALTH_IMAGE_DAYS", 60.0)
    health_backup_hours: float = variable("OPS_HEALTH_BACKUP_HOURS", 26.0)
    health_clock_seconds: float = variable("OPS_HEALTH_CLOCK_SECONDS", 5.0)

    # Whom a flip of a check is told.
    notify_emails: tuple[str, ...] = variable("OPS_NOTIFY_EMAILS", (), kinds.MAILBOXES, public=True)
    notify_webhooks: tuple[str, ...] = variable("OPS_NOTIFY_WEBHOOKS", (), kinds.WEB_ADDRESSES)
    notify_slack: tuple[str, ...] = variable("OPS_NOTIFY_SLACK", (), kinds.WEB_ADDRESSES)
    notify_after_seconds: float = variable("OPS_NOTIFY_AFTER_SECONDS", 120.0)
    ping_url: str = variable("OPS_PING_URL", "", kinds.WEB_ADDRESS)

    # The agent.
    crontab: Path = variable("OPS_CRONTAB", Path("docker/crontab"))
    job_seconds: float = variable("OPS_JOB_SECONDS", 3600.0)
    job_runs: int = variable("OPS_JOB_RUNS", 100)
    recover_after_seconds: float = variable("OPS_RECOVER_AFTER_SECONDS", 15.0)
    supervisor_socket: Path = variable(
        "OPS_SUPERVISOR_SOCKET", Path("/run/changeover/supervisor.sock")
    )

    # What the compose file and gunicorn are told; here so that checks can hold them together.
    web_workers: int = variable("WEB_WORKERS", 2)
    web_threads: int = variable("WEB_THREADS", 16)
    postgres_max_connections: int = variable("POSTGRES_MAX_CONNECTIONS", 200)
    web_request_seconds: int = variable("WEB_REQUEST_SECONDS", 30)
    web_graceful_seconds: int = variable("WEB_GRACEFUL_SECONDS", 35)
    web_stop_grace_seconds: int = variable("WEB_STOP_GRACE_SECONDS", 45)
    worker_processes: int = variable("WORKER_PROCESSES", 2)
    task_seconds: int = variable("WORKER_TASK_SECONDS", 60)
    worker_stop_grace_seconds: int = variable("WORKER_STOP_GRACE_SECONDS", 200)

    # From a laptop: where the site runs.
    servers: tuple[str, ...] = variable("OPS_SERVERS", (), public=True)

    # Variables of the project's own whose values may be shown: all others are secret.
    public_variables: tuple[str, ...] = variable("OPS_PUBLIC_VARIABLES", (), public=True)

    # Who asks, as the shell that ran `docker compose run` knows them.
    requested_by: str = variable("OPS_REQUESTED_BY", "", kinds.ANY, public=True)
    requested_from: str = variable("OPS_REQUESTED_FROM", "", kinds.ANY, public=True)
