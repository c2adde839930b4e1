from __future__ import annotations

import time
from http import HTTPStatus

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_q.tasks import async_task

from apps.home.caching import cache_page_if_possible
from apps.home.forms import MessageForm
from apps.home.models import Message

NEWEST = 50
MAX_SLOW_SECONDS = 10.0


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return _guest_book(request, MessageForm(), HTTPStatus.OK)


@require_POST
def post_message(request: HttpRequest) -> HttpResponse:
    form = MessageForm(request.POST, request.FILES)
    if not form.is_valid():
        return _guest_book(request, form, HTTPStatus.UNPROCESSABLE_ENTITY)
    # The queue is a table of the same database: the message and its task are kept both or neither.
    with transaction.atomic():
        message = form.save()
        # By name: a worker whose release lacks the function then records a failed task. A pickled
        # one it could not load would end django-q2's pusher, and hold up all other tasks.
        async_task("apps.home.tasks.welcome", message.pk)
    return HttpResponseRedirect(reverse("home:index"), status=HTTPStatus.SEE_OTHER)


def _guest_book(request: HttpRequest, form: MessageForm, status: HTTPStatus) -> HttpResponse:
    context = {"form": form, "guest_messages": Message.objects.all()[:NEWEST]}
    return render(request, "home/index.html", context, status=status)


# Its footer names release and colour, so each keeps a page of its own: a standby of the same
# release must not answer in the other's name.
@require_safe
@cache_page_if_possible(60, key_prefix=f"{settings.RELEASE}.{settings.COLOR}")
def about(request: HttpRequest) -> HttpResponse:
    return render(request, "home/about.html")


@require_safe
@never_cache
def slow(request: HttpRequest) -> HttpResponse:
    """A report that takes its time, like the long requests every site has."""
    try:
        seconds = float(request.GET.get("seconds", "2"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_SLOW_SECONDS:  # false for nan, too
        return _text(f"seconds must be a number from 0 to {MAX_SLOW_SECONDS:g}.\n", status=400)
    time.sleep(seconds)
    return _text(f"This report took {seconds:g} seconds.\n")


def _text(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8", status=status)
