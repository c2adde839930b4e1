"""A page cache that the site can live without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_page
from redis import RedisError

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], HttpResponse]


def cache_page_if_possible(seconds: int, *, key_prefix: str) -> Callable[[View], View]:
    """Django's `cache_page`, except that without Redis the page is made anew instead of failing.

    Only for views that make their page at once (`render`, no `TemplateResponse`) and may run twice.
    """

    def decorate(view: View) -> View:
        cached = cache_page(seconds, key_prefix=key_prefix)(view)

        @wraps(view)
        def answer(request: HttpRequest) -> HttpResponse:
            try:
                return cached(request)
            except RedisError as error:
                logger.warning("%s is not cached: %s", request.path, error)
                return view(request)

        return answer

    return decorate
