"""The settings of what runs all day beside Docker's socket: the site's, without its code.

An app's `ready` and its models would run there as root. Commands that people type have all of it.
"""

from config.settings import *  # noqa: F403

# What the ops commands of the crontab need of what the site has.
_NEEDED = ("django.contrib.sessions", "django_q", "apps.ops")
# Checks of yours are code of yours: naming them in .env lets it in.
if not OPS.health_checks:  # noqa: F405
    INSTALLED_APPS = [app for app in INSTALLED_APPS if app in _NEEDED]  # noqa: F405
    MIDDLEWARE = []
    SESSION_ENGINE = "django.contrib.sessions.backends.db"
