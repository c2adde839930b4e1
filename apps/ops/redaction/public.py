"""The names of variables whose values may be shown. What is not named here is secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from apps.ops.conf import OpsSettings
from apps.ops.site_conf import SiteSettings

# Where a project names more of them, comma-separated.
OWN = "OPS_PUBLIC_VARIABLES"

# What Compose and Caddy read themselves.
_STACK = """
    ANSWER_SECONDS BODY_SECONDS CADDY_MEMORY DJANGO_SETTINGS_MODULE EXPOSE_RELEASE
    HEALTH_INTERVAL_SECONDS HTTPS_BIND HTTP_BIND MEDIA_MEMORY POSTGRES_MEMORY REDIS_MAXMEMORY
    REDIS_MEMORY UPLOADS_AT_A_TIME UPLOAD_SIZE WEB_MEMORY
"""
# The image's, the shell's and the desktop's own.
_SYSTEM = """
    CHANGEOVER_JOB COLORTERM COLUMNS DEBIAN_FRONTEND DESKTOP_SESSION DISPLAY DJANGO_COLORS
    DOCKER_CONTEXT DOCKER_HOST EDITOR FORCE_COLOR GPG_KEY HOME HOSTNAME HOSTTYPE INVOCATION_ID LANG
    LANGUAGE LESS LINES LOGNAME LS_COLORS MACHTYPE MAIL NO_COLOR OLDPWD OSTYPE PAGER PATH
    PS1 PWD SESSION_MANAGER SHELL SHLVL SSH_CLIENT SSH_CONNECTION SSH_TTY SSL_CERT_DIR SSL_CERT_FILE
    SUDO_COMMAND SUDO_GID SUDO_UID SUDO_USER TERM TERM_PROGRAM TERM_PROGRAM_VERSION TMPDIR TZ USER
    VIRTUAL_ENV VIRTUAL_ENV_PROMPT VISUAL WINDOWID _
"""
_SYSTEM_FAMILIES = ("LC_", "PYTEST_", "PYTHON", "XDG_")
_DECLARED = OpsSettings.public() | SiteSettings.public()
NAMES = frozenset({*_DECLARED, *_STACK.split(), *_SYSTEM.split()})

# Short and common values of these names are hidden, too. It adds to the rule; it is not the rule.
_SOUNDS_SECRET = re.compile(
    r"SECRET|PASS|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|_KEY|DSN|WEBHOOK|SLACK|PING_URL"
    r"|(?:^|_)(?:PW|PWD|PIN|SK|AUTH)(?:_|$)"
)


def public_names(variables: Mapping[str, str]) -> frozenset[str]:
    """Those that are named here, and in the project's own list."""
    return NAMES | {name.strip() for name in variables.get(OWN, "").split(",")}


def is_public(name: str, names: Iterable[str]) -> bool:
    return name in names or name.startswith(_SYSTEM_FAMILIES)


def sounds_secret(name: str) -> bool:
    return _SOUNDS_SECRET.search(name.upper().removesuffix("_FILE")) is not None
