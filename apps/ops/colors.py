from __future__ import annotations

from enum import StrEnum


class Color(StrEnum):
    """The two places a release can run in. Which one is live is the edge's to say."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def service(self) -> str:
        """The name of its service in the compose files."""
        return {"blue": "django-a", "green": "django-b"}[self.value]

    @property
    def other(self) -> Color:
        return Color.GREEN if self is Color.BLUE else Color.BLUE
