"""Django settings. Every value that differs between machines comes from the environment.

`.env.example` describes each variable; `NAME_FILE=/path` reads `NAME` from a file (Docker secrets).
"""

import os
from pathlib import Path

import environ

from apps.ops import beside_the_socket
from apps.ops.conf import OpsSettings
from apps.ops.roles.logins import OWNER, Logins
from apps.ops.secret_files import forget_unwritten

BASE_DIR = Path(__file__).resolve().parent.parent

forget_unwritten(os.environ)
env = environ.FileAwareEnv()
# On a laptop: in a container Compose has read it, and what is set already is left.
env.read_env(BASE_DIR / ".env", parse_comments=True)

DEBUG = env.bool("DEBUG", default=False)
# Empty, a deployment can still say and record that it is missing. (A file ends with a newline.)
SECRET_KEY = env.str("SECRET_KEY", default="").strip()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])

# What this process is: baked into the image (RELEASE) and said by the compose file (COLOR, ROLE).
RELEASE = env.str("RELEASE", default="unreleased")
COLOR = env.str("COLOR", default="")
ROLE = env.str("ROLE", default="web")

SITE_HOST = env.str("SITE_HOST", default="localhost")
ALLOWED_HOSTS = [
    SITE_HOST,
    f"www.{SITE_HOST}",
    f"blue.{SITE_HOST}",
    f"green.{SITE_HOST}",
    *env.list("ALLOWED_HOSTS", default=[]),
]
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

OPS = OpsSettings.from_env(env)

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
POSTGRES_LOGINS = Logins(
    env.str("POSTGRES_USER", default="site"),
    env.str("POSTGRES_PASSWORD", default="").strip(),
    OPS.secrets_dir,
)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": env.str("POSTGRES_DB", default="site"),
        **POSTGRES_LOGINS.for_process(ROLE),
        "HOST": env.str("POSTGRES_HOST", default="postgres"),
        "PORT": env.int("POSTGRES_PORT", default=5432),
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

REDIS_URL = env.str("REDIS_URL", default="redis://redis:6379/0")
CACHES = {
    "default": {
        # Django's, which leaves a Redis that hangs alone for a while.
        "BACKEND": "apps.ops.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": env.str("COMPOSE_PROJECT_NAME", default="changeover"),
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
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "/static/"
# Inside the image: each release keeps its own manifest. A deploy copies the files, never the
# manifest, to the volume that Caddy serves.
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_URL = "/media/"
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default=str(BASE_DIR / "media")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage."
        + ("StaticFilesStorage" if DEBUG else "ManifestStaticFilesStorage")
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# Without one, what would be sent stands in the log.
EMAIL_URL = env.str("EMAIL_URL", default="").strip() or "consolemail://"
vars().update(environ.Env.email_url_config(EMAIL_URL))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="") or f"ops@{SITE_HOST}"

# HTTPS ends at Caddy (or at the CDN before it), which sets this header and drops a client's own.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SITE_SCHEME = env.str("SITE_SCHEME", default="https")
HTTPS_ONLY = env.bool("HTTPS_ONLY", default=SITE_SCHEME == "https" and not DEBUG)
SECURE_SSL_REDIRECT = HTTPS_ONLY
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=3600 if HTTPS_ONLY else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
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
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
