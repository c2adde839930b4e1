"""gunicorn, set so that a colour can be started and stopped under traffic.

Times are in seconds. They nest: longest request < graceful timeout < the container's
stop_grace_period; `manage.py check --deploy` (ops.E003) holds them to it.
"""

import gc
import os
import sys

from apps.ops.conf import OpsSettings
from apps.ops.variables import Environment

env = Environment(os.environ)
ops = OpsSettings.from_env(env)
if env.wrong:
    sys.exit("\n".join(env.wrong))

bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = ops.web_workers
threads = ops.web_threads

# One boot for all workers: the first ready answer then speaks for every one of them, where
# without it the slower ones make their first clients wait for an import of the whole project.
# Nothing may connect to the database before the fork.
preload_app = True

timeout = ops.web_request_seconds
graceful_timeout = ops.web_graceful_seconds

# Longer than Caddy keeps its idle upstream connections (60 s, Caddyfile), so that it is Caddy who
# closes them: the other way round a request can meet a connection that is just being closed.
keepalive = 75

control_socket_disable = True  # Reading nothing from it, a deploy needs none.
worker_tmp_dir = "/dev/shm"  # noqa: S108  (its heartbeat must not wait for a disk)
accesslog = None  # Caddy writes the access log, with the colour that answered.
errorlog = "-"


def when_ready(server: object) -> None:
    """Once, before the workers are forked: they share what is loaded here, and no worker's first
    visitor waits for the import of the URLconf and its views."""
    from django.db import connections
    from django.urls import get_resolver

    _ = get_resolver().url_patterns
    # A project whose import asks the database would share one connection among all workers.
    connections.close_all()
    # As in apps.ops.apps, with what came since.
    gc.collect()
    gc.freeze()
