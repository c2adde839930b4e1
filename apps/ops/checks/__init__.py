"""Misconfigurations that would bite in a deployment, as Django system checks (tag "ops").

An error loses requests, tasks or data, or fails every deployment; a warning is merely unwise.
What a development machine may have otherwise is only asked with `--deploy`, as `preflight` does in
the new release's own image.

    E001-E007, W001-W004   timeouts.py   what must be shorter than what
    E010-E015              tasks.py      django-q2
    E020-E026, W005, W009  requests.py   the way of a request to Django
    E027, W010             gunicorn.py   how the web is run
    E030-E037, W006-W007   state.py      what two colours share
    E040-E042, W008        keys.py       secrets and logins
"""

from __future__ import annotations

from django.core import checks

from apps.ops.checks import gunicorn, keys, requests, state, tasks, timeouts

TAG = "ops"

for check in (timeouts.web, timeouts.worker, timeouts.care, tasks.queue):
    checks.register(check, TAG)
for check in (requests.middleware, requests.proxy, requests.names, state.database):
    checks.register(check, TAG)
for check in (
    tasks.sync,
    requests.unknown_names,
    gunicorn.recycling,
    state.static,
    state.media,
    state.sessions,
    state.caches,
    keys.secrets,
    keys.logins,
):
    checks.register(check, TAG, deploy=True)
