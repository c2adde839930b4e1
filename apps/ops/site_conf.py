"""What the site's own settings (`config/settings.py`) read from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apps.ops import kinds
from apps.ops.conf import OpsSettings
from apps.ops.variables import Declared, Environment, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings(Declared):
    """None where the settings derive the default from others."""

    debug: bool = variable("DEBUG", False)
    # Empty, a deployment can still say and record that it is missing.
    secret_key: str = variable("SECRET_KEY", "")
    secret_key_fallbacks: tuple[str, ...] = variable("SECRET_KEY_FALLBACKS", ())

    # What this process is: baked into the image (RELEASE) and said by the compose file.
    release: str = variable("RELEASE", "unreleased", public=True)
    color: str = variable("COLOR", "", public=True)
    role: str = variable("ROLE", "web", public=True)

    allowed_hosts: tuple[str, ...] = variable("ALLOWED_HOSTS", (), kinds.HOSTS, public=True)
    csrf_trusted_origins: tuple[str, ...] = variable(
        "CSRF_TRUSTED_ORIGINS", (), kinds.ORIGINS, public=True
    )
    site_scheme: str = variable("SITE_SCHEME", "https", kinds.one_of("https", "http"), public=True)
    https_only: bool | None = variable("HTTPS_ONLY", None, kinds.BOOLEAN)
    secure_hsts_seconds: int | None = variable("SECURE_HSTS_SECONDS", None, kinds.WHOLE)
    secure_hsts_include_subdomains: bool = variable("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
    secure_hsts_preload: bool = variable("SECURE_HSTS_PRELOAD", False)

    postgres_host: str = variable("POSTGRES_HOST", "postgres", public=True)
    postgres_port: int = variable("POSTGRES_PORT", 5432, kinds.PORT)
    postgres_db: str = variable("POSTGRES_DB", "site", public=True)
    postgres_user: str = variable("POSTGRES_USER", "site", public=True)
    postgres_password: str = variable("POSTGRES_PASSWORD", "")
    redis_url: str = variable("REDIS_URL", "redis://redis:6379/0", kinds.REDIS)

    time_zone: str = variable("TIME_ZONE", "UTC", kinds.TIME_ZONE, public=True)
    log_level: str = variable("LOG_LEVEL", "INFO", kinds.LOG_LEVEL, public=True)
    media_root: Path = variable("MEDIA_ROOT", Path("media"))

    # Without one, what would be sent stands in the log.
    email_url: str = variable("EMAIL_URL", "", kinds.EMAIL)
    default_from_email: str = variable("DEFAULT_FROM_EMAIL", "", kinds.MAILBOX, public=True)


def wrong_in(values: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that a server with these could not read."""
    # What a NAME_FILE names is in a container there.
    env = Environment({name: v for name, v in values.items() if not name.endswith("_FILE")})
    for declared in (SiteSettings, OpsSettings):
        declared.from_env(env)
    return env.wrong
