import gc
from typing import Any

from django.apps import AppConfig, apps


class OpsConfig(AppConfig):
    name = "apps.ops"
    label = "ops"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from apps.ops import checks  # noqa: F401  (registers them)

        # Nobody logs in where operations run without the site's apps.
        if apps.is_installed("django.contrib.auth"):
            from apps.ops import logins  # noqa: F401  (listens to them)

        post_migrate.connect(grant, sender=self)

        # What is imported by now stays. A collector that looked at it again would copy the pages
        # that forked processes share: that made a worker's end take a second.
        gc.freeze()


def grant(using: str, **kwargs: Any) -> None:
    """New tables get their rights with the migration that made them."""
    from django.conf import settings
    from django.db import connections

    from apps.ops.roles import rights

    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            rights.apply(cursor, settings.POSTGRES_LOGINS)
