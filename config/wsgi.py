import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from apps.ops.request_bodies import ReadsWholeBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    from django.conf import settings

    # As long as a request may take (gunicorn.conf.py).
    seconds = float(settings.OPS.web_request_seconds)
except ImproperlyConfigured as error:
    sys.exit(f"Configuration: {error}")
application = ReadsWholeBodies(get_wsgi_application(), seconds=seconds)
