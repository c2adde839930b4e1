import gc

from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "apps.ops"
    label = "ops"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.ops import checks, logins  # noqa: F401  (registers them)

        # What is imported by now stays. A collector that looked at it again would copy the pages
        # that forked processes share: that made a worker's end take a second.
        gc.freeze()
