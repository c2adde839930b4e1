"""The settings of ops commands beside Docker's socket: the site's, without its code.

An app's `ready` and its models would run there as root. docker/utility-entrypoint chooses them.
"""

from config.settings import *  # noqa: F403

# What ops commands need of what the site has.
_NEEDED = ("django.contrib.sessions", "django_q", "apps.ops")
# Checks of yours are code of yours: naming them in .env lets it in.
if not OPS.health_checks:  # noqa: F405
    INSTALLED_APPS = [app for app in INSTALLED_APPS if app in _NEEDED]  # noqa: F405
    MIDDLEWARE = []
    SESSION_ENGINE = "django.contrib.sessions.backends.db"
