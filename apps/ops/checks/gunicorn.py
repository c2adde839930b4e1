"""What gunicorn is told, by config/gunicorn.conf.py and GUNICORN_CMD_ARGS."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

FILE = Path("config/gunicorn.conf.py")
# With so many, and each with a limit of its own, some always answer.
ENOUGH_WORKERS = 4


def recycling(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    file = settings.BASE_DIR / FILE
    if not file.exists():
        return
    try:
        told = _told(file)
    except (Exception, SystemExit) as error:  # It is code of the project's.
        yield checks.Error(
            f"{FILE} or GUNICORN_CMD_ARGS cannot be read ({type(error).__name__}: {error}): no "
            "candidate would start.",
            hint=f"Try it: gunicorn --check-config --config {FILE} config.wsgi",
            id="ops.E027",
        )
        return
    limit, jitter, workers = told.max_requests, told.max_requests_jitter, told.workers
    if limit and (jitter < limit or workers < ENOUGH_WORKERS):
        yield checks.Warning(
            f"gunicorn's max_requests is {limit}, with a jitter of {jitter} and {workers} workers: "
            "they reach it at about the same time, and one that has takes no request until its "
            f"longest has ended ({settings.OPS.web_request_seconds} s), so that nobody may answer.",
            hint="Take it out: each deployment starts new workers, and WEB_MEMORY bounds a leak. "
            f"Or set max_requests_jitter to {limit} and WEB_WORKERS to {ENOUGH_WORKERS}, or more.",
            id="ops.W010",
        )


def _told(file: Path) -> Any:
    """gunicorn's own settings, as the file has them and then the environment."""
    from gunicorn.config import Config

    config = Config()
    for name, value in runpy.run_path(str(file)).items():
        if name in config.settings:
            config.set(name, value)
    arguments = config.parser().parse_args(config.get_cmd_args_from_env())
    for name, value in vars(arguments).items():
        if name in config.settings and value is not None:
            config.set(name, value)
    return config
