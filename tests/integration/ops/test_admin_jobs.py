from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from apps.ops.models import JobRun

PLAIN_STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}


@pytest.mark.django_db
def test_the_list_of_job_runs_does_not_load_what_they_said(
    admin_client: Client, settings: Settings
) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN_STATIC}
    settings.SECURE_SSL_REDIRECT = False
    for job in ("manage.py canary", "manage.py backup_db"):
        JobRun.objects.create(job=job, due=timezone.now(), status="succeeded", output="long")

    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get("/admin/ops/jobrun/").content.decode()

    assert "manage.py canary" in page
    asked = [query["sql"] for query in queries if "ops_jobrun" in query["sql"]]
    assert asked
    assert not any('"output"' in sql for sql in asked)
