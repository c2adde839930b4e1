from django.conf import settings
from django.http import HttpRequest


def release(request: HttpRequest) -> dict[str, str]:
    """What answers: for a footer, so that everybody can see which release they talk to."""
    return {"release": settings.RELEASE, "color": settings.COLOR}
