"""Django settings. Every value that differs between machines comes from the environment.

`.env.example` describes each variable; `NAME_FILE=/path` reads `NAME` from a file (Docker secrets).
Yours: `CURRENCY = env("SHOP_CURRENCY", "EUR")`, of the default's type.
"""

import os
from pathlib import Path
from typing import Any

from apps.ops import beside_the_socket, names
from apps.ops.addresses import email_settings
from apps.ops.conf import OpsSettings
from apps.ops.roles.logins import OWNER, Logins
from apps.ops.secret_files import forget_unwritten
from apps.ops.site_conf import SiteSettings
from apps.ops.variables import Environment, read_dotenv

BASE_DIR = Path(__file__).resolve().parent.parent

forget_unwritten(os.environ)
# On a laptop: in a container Compose has read it, and what is set already is left.
read_dotenv(BASE_DIR / ".env", os.environ)
env = Environment(os.environ)
site = SiteSettings.from_env(env)
OPS = OpsSettings.from_env(env)

DEBUG = site.debug
SECRET_KEY = site.secret_key
SECRET_KEY_FALLBACKS = [*site.secret_key_fallbacks]

# What this process is.
RELEASE = site.release
COLOR = site.color
ROLE = site.role

SITE_HOST = OPS.site_host
ALLOWED_HOSTS = [*names.allowed(OPS), *site.allowed_hosts]
CSRF_TRUSTED_ORIGINS = [*names.origins(OPS), *site.csrf_trusted_origins]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "apps.ops",
    "apps.home",
]

MIDDLEWARE = [
    "apps.ops.middleware.ReleaseHeaderMiddleware",
    # Health must answer whatever the Host header says, and before any redirect to HTTPS.
    "apps.ops.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.ops.middleware.SecurityLogMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.ops.context_processors.release",
            ],
        },
    },
]

# Web and worker, operations and migrations sign in as roles of their own, once a deployment has
# made them.
POSTGRES_LOGINS = Logins(site.postgres_user, site.postgres_password, OPS.secrets_dir)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": site.postgres_db,
        **POSTGRES_LOGINS.for_process(ROLE),
        "HOST": site.postgres_host,
        "PORT": site.postgres_port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 3,
            # Who is connected, in pg_stat_activity: web-blue, worker, utility …
            "application_name": f"{ROLE}-{COLOR}" if COLOR else ROLE,
        },
    }
}
if ROLE == "utility" and (owner := POSTGRES_LOGINS.of(OWNER)):
    # For what changes tables: `manage.py migrate --database owner`, backups and restores.
    DATABASES["owner"] = {**DATABASES["default"], **owner}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = site.redis_url
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        # Django's, which leaves a Redis that hangs alone for a while.
        "BACKEND": "apps.ops.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": OPS.project,
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    }
}
if beside_the_socket.is_here():
    # What is in there are pickles that the web can write.
    CACHES["default"]["OPTIONS"]["serializer"] = "apps.ops.beside_the_socket.NoPickles"
# Django's cached_db, which goes on without its cache.
SESSION_ENGINE = "apps.ops.sessions"

Q_CLUSTER = {
    "name": "site",
    # The database keeps the queue: a task is lost with neither the worker nor Redis.
    "orm": "default",
    # In the order they came; a deployment's canary goes first.
    "broker_class": "apps.ops.broker.FirstInFirstOut",
    "workers": OPS.worker_processes,
    # Everything prefetched is run before a worker stops: no more than there are hands for.
    "queue_limit": OPS.worker_processes,
    "timeout": OPS.task_seconds,
    # A task is handed out again when it was not acknowledged for this long: later than the slowest
    # way through a worker (two tasks before it, each to its timeout), or it would run twice.
    "retry": OPS.task_seconds * 3 + 60,
    "max_attempts": 5,
    "ack_failures": True,
    "poll": 0.5,
    "save_limit": 10_000,
    "catch_up": False,
    "label": "Tasks",
}

AUTHENTICATION_BACKENDS = [
    # Knows nobody, and stops who tries too many passwords.
    "apps.ops.logins.Throttle",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = site.time_zone
USE_TZ = True

STATIC_URL = "/static/"
# Inside the image: each release keeps its own manifest. A deploy copies the files, never the
# manifest, to the volume that Caddy serves.
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / site.media_root
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage."
        + ("StaticFilesStorage" if DEBUG else "ManifestStaticFilesStorage")
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# Without one, what would be sent stands in the log.
vars().update(email_settings(site.email_url or "consolemail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = site.default_from_email or f"ops@{SITE_HOST}"

# HTTPS ends at Caddy (or at the CDN before it), which sets this header and drops a client's own.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SITE_SCHEME = site.site_scheme
HTTPS_ONLY = SITE_SCHEME == "https" and not DEBUG if site.https_only is None else site.https_only
SECURE_SSL_REDIRECT = HTTPS_ONLY
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 3600 if HTTPS_ONLY else 0
if site.secure_hsts_seconds is not None:
    SECURE_HSTS_SECONDS = site.secure_hsts_seconds
SECURE_HSTS_INCLUDE_SUBDOMAINS = site.secure_hsts_include_subdomains
SECURE_HSTS_PRELOAD = site.secure_hsts_preload
SECURE_REFERRER_POLICY = "strict-origin-when-cross-origin"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "apps.ops.redact.RedactingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": site.log_level},
}

# Last, when all is read: an error names what cannot be, and an ops command goes on (variables.py).
WRONG_VARIABLES = env.require_right()
