import os

from django.core.wsgi import get_wsgi_application

from apps.ops.request_bodies import ReadsWholeBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# As long as a request may take (WEB_REQUEST_SECONDS, gunicorn.conf.py).
application = ReadsWholeBodies(
    get_wsgi_application(), seconds=float(os.environ.get("WEB_REQUEST_SECONDS") or "30")
)
